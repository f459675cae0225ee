"""The examples print what `examples/expected/<name>.txt` says: started as a user starts them, and on trio.

A new example needs nothing here but its file of expected output, and its line in `examples/README.md`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from programs import run_program

pytestmark = pytest.mark.slow

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))

NAMES = [example.stem for example in EXAMPLES]

ASYNC_EXAMPLES = [example for example in EXAMPLES if "anyio.run(main)" in example.read_text(encoding="utf-8")]


def output_of(example: Path, *, on_trio: bool = False) -> str:
    """Return what an example prints on standard output; any warning, and anything on standard error, fails."""
    ended = run_program(example, on_trio=on_trio)
    assert (ended.code, ended.err) == (0, "")
    return ended.out


def expected(example: Path) -> str:
    return (example.parent / "expected" / f"{example.stem}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=NAMES)
def test_an_example_prints_what_it_should(example: Path) -> None:
    """Examples are the first thing that a newcomer runs: `python examples/<name>.py`."""
    assert output_of(example) == expected(example)


@pytest.mark.parametrize("example", ASYNC_EXAMPLES, ids=lambda example: example.stem)
def test_an_example_prints_the_same_on_trio(example: Path) -> None:
    """What the examples show holds on both event loops."""
    assert output_of(example, on_trio=True) == expected(example)


def test_the_examples_are_numbered_in_reading_order_and_short() -> None:
    """A newcomer reads them one after the other; each fits on a screen or two, and none lacks its output or has too much."""
    assert [name.partition("_")[0] for name in NAMES] == [f"{number:02}" for number in range(1, len(NAMES) + 1)]
    lines = {example.name: example.read_text(encoding="utf-8").count("\n") for example in EXAMPLES}
    assert {name: count for name, count in lines.items() if count >= 80} == {}
    assert sorted(one.stem for one in (EXAMPLES[0].parent / "expected").iterdir()) == NAMES


def test_the_readme_of_the_examples_lists_each_in_order() -> None:
    """A newcomer chooses there what to read."""
    listed = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.py\) \|", (EXAMPLES[0].parent / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert listed == [(name, name) for name in NAMES]


def test_a_wrong_output_is_found(tmp_path: Path) -> None:
    """The checks above can fail: on other output, on a warning, on an error."""
    example = tmp_path / "07_wrong.py"
    (tmp_path / "expected").mkdir()
    (tmp_path / "expected" / "07_wrong.txt").write_text("right\n", encoding="utf-8")
    for program in ("print('wrong')", "import warnings; print('right'); warnings.warn('x')", "print('right'); 1 / 0"):
        example.write_text(program, encoding="utf-8")
        with pytest.raises(AssertionError):
            test_an_example_prints_what_it_should(example)
