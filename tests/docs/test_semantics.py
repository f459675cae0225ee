"""Every promise in `docs/semantics.md` names the tests that hold it, and they exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CONTRACT = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")

_PROMISE = re.compile(r"^### (.+)$", re.MULTILINE)
_SECTION = re.compile(r"^#{1,2} .+$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def promises(text: str) -> dict[str, list[tuple[str, str]]]:
    """Return the tests that each promise names, as file and name."""
    found: dict[str, list[tuple[str, str]]] = {}
    headings = list(_PROMISE.finditer(text))
    for heading in headings:
        rest = text[heading.end() :]
        ends = [match.start() for pattern in (_PROMISE, _SECTION) if (match := pattern.search(rest))]
        found[heading[1]] = _TEST.findall(rest[: min(ends, default=len(rest))])
    return found


@functools.cache
def names_in(file: Path) -> set[str]:
    """Return the names of the tests in a file, without importing it."""
    if not file.is_file():
        return set()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name for node in nodes if isinstance(node, kinds) and node.name.lower().startswith("test")}


def faults(text: str) -> list[str]:
    """Return promises without a test, and tests that do not exist."""
    wrong = [f"{promise}: no test" for promise, tests in promises(text).items() if not tests]
    for file, name in dict.fromkeys(_TEST.findall(text)):
        if name not in names_in(ROOT / file):
            wrong.append(f"{file}::{name} does not exist")
    return wrong


def test_every_promise_names_its_tests_and_they_exist() -> None:
    """`docs/semantics.md`: a promise that nothing holds is a wish."""
    assert len(promises(CONTRACT)) > 20
    assert faults(CONTRACT) == []


def test_promises_are_numbered_without_a_gap() -> None:
    """`docs/semantics.md`: code and tests refer to promises by number; a part of a chapter may begin at a ten."""
    numbers = [tuple(map(int, re.match(r"(\d+)\.(\d+) ", heading).groups())) for heading in promises(CONTRACT)]
    for before, after in zip([(0, 0), *numbers], numbers, strict=False):
        is_part = after > before and after[1] % 10 == 0
        assert is_part or after in ((before[0], before[1] + 1), (before[0] + 1, 1)), after


def test_a_promise_without_a_test_is_found() -> None:
    """The check above can fail: no test, a test that is not there, a file that is not there."""
    here = "tests/docs/test_semantics.py"
    page = (
        f"## A\n### 1.1 Held\n`{here}::test_a_promise_without_a_test_is_found`\n### 1.2 Wish\nwords\n"
        f"### 1.3 Lost\n`{here}::test_gone`\n`tests/gone.py::test_gone`\n## B\n`{here}::faults`\n"
    )
    assert faults(page) == [
        "1.2 Wish: no test",
        f"{here}::test_gone does not exist",
        "tests/gone.py::test_gone does not exist",
        f"{here}::faults does not exist",
    ]
