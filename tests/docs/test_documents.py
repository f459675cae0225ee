"""What README and docs say in code is run: every Python block, and every command that a page tells the reader to type.

A Python block is a program by itself. What it prints is told by `#> ` comments below the lines that print it, in the order of
the output; a block that defines tests is run by pytest. No block is left out.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import run_program
from pytest_examples import CodeExample, EvalExample, find_examples

ROOT = Path(__file__).resolve().parents[2]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = list(find_examples(*PAGES))
COMMAND_PAGES = [*PAGES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "examples").rglob("*.md"))]

_TOLD = re.compile(r"^ *#>(?: (.*))?$", re.MULTILINE)
_SHELL = re.compile(r"^( *)```(?:console|sh|shell|bash)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_TARGET = re.compile(r"^([a-z-]+):.*?## ", re.MULTILINE)
_INLINE_MAKE = re.compile(r"`make ([a-z-]+)")


def block_id(block: CodeExample) -> str:
    return f"{block.path.relative_to(ROOT).as_posix()}:{block.start_line}"


def run_block(source: str, folder: Path) -> str:
    """Run a block as a program, or with pytest if it defines tests, and return what it prints."""
    file = folder / "block.py"
    file.write_text(source, encoding="utf-8")
    is_test = re.search(r"^(async )?def test_", source, re.MULTILINE) is not None
    ended = run_program(file, cwd=folder, is_test=is_test)
    assert ended.code == 0, ended.out + ended.err
    assert not ended.err
    return "" if is_test else ended.out


def told(source: str) -> str:
    """Return what a block says that it prints."""
    return "".join(f"{line}\n" for line in _TOLD.findall(source))


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=block_id)
def test_a_block_does_what_its_page_says(block: CodeExample, tmp_path: Path) -> None:
    """A reader who copies a block gets what the page shows below it."""
    assert run_block(block.source, tmp_path) == told(block.source)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=block_id)
def test_a_block_is_written_as_our_code_is(
    block: CodeExample, eval_example: EvalExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project's own rules for ruff, without those that would make a page longer; black's layout, which is ruff's."""
    monkeypatch.chdir(ROOT)  # where ruff finds the rules
    ignored = ["ANN", "D", "INP001", "PLC0415", "S", "T20", "TC", "TID253"]
    eval_example.set_config(line_length=120, target_version="py311", ruff_line_length=132, ruff_ignore=ignored)
    # black knows `#> ` as the mark of output, and would write an empty line of it anew.
    source = re.sub(r"^( *)#>$", r"\1#> .", block.source, flags=re.MULTILINE)
    eval_example.lint(dataclasses.replace(block, source=source))


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield the commands in the shell blocks of a page, as words, without prompt and comment."""
    for _, block in _SHELL.findall(text):
        for line in block.splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            if words:
                yield words


def unknown_in(text: str) -> list[str]:
    """Return what a page tells to run that the project does not have."""
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    wrong = [f"make {name}" for name in _INLINE_MAKE.findall(text) if name not in targets]
    for words in commands_of(text):
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]  # noqa: PLW2901 - variables before a command
        if "|" in words:
            words = words[words.index("|") + 1 :]  # noqa: PLW2901 - `echo … | streamflow …`
        match words:
            case ["make", *rest]:
                asked = [word for word in rest if "=" not in word]
                arguments = next((shlex.split(word[5:]) for word in rest if word.startswith("ARGS=")), [])
                wrong += [f"make {name}" for name in asked if name not in targets]
                wrong += _unknown_options(arguments) if asked == ["run"] else []
            case ["streamflow", "chat" | "fake-llm" | "replay" | "serve-chat" as command, *options]:
                wrong += _unknown_options(options, command)
            case ["python", "-m", "streamflow", "chat" | "fake-llm" | "replay" | "serve-chat" as command, *options]:
                wrong += _unknown_options(options, command)
            case ["python", file] if (ROOT / file).is_file():
                pass
            case ["python", "-m", "pip", "install", *_] | ["pip", "install", *_] | ["git", "clone" | "commit", *_]:
                pass
            case [file] if (ROOT / file).is_file():
                pass
            case _:
                wrong.append(shlex.join(words))
    return wrong


def _unknown_options(words: list[str], command: str = "chat") -> list[str]:
    """Return the options that a command of `streamflow` does not have."""
    known = options_of(command)
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]


@functools.cache
def options_of(command: str) -> list[str]:
    """Return the options that the help of a command of `streamflow` lists."""
    helping = [sys.executable, "-m", "streamflow", command, "--help"]
    return re.findall(r"--[a-z-]+", subprocess.run(helping, capture_output=True, encoding="utf-8", check=True).stdout)


@pytest.mark.parametrize("page", COMMAND_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_exists(page: Path) -> None:
    """A reader is never sent to a make target, a file or an option that is not there."""
    assert unknown_in(page.read_text(encoding="utf-8")) == []


def test_there_are_blocks_on_every_page_for_users() -> None:
    """The checks above look at something: the pages that teach have programs in them."""
    pages = {block_id(block).partition(":")[0] for block in BLOCKS}
    assert pages >= {"README.md", "docs/tutorial.md"}
    assert pages >= {guide.relative_to(ROOT).as_posix() for guide in (ROOT / "docs" / "guides").glob("*.md")}


@pytest.mark.slow
def test_a_wrong_block_is_found(tmp_path: Path) -> None:
    """The check of blocks can fail: on other output, on an error, on a test that fails."""
    assert run_block("print('a')\n#> a\nprint()\n#>\n", tmp_path) == told("print('a')\n#> a\nprint()\n#>\n") == "a\n\n"
    for program in ("raise SystemExit(1)", "def test_x():\n    assert 1 == 2\n", "import warnings\nwarnings.warn('x')"):
        with pytest.raises(AssertionError):
            run_block(program, tmp_path)


def test_a_wrong_command_is_found() -> None:
    """The check of commands can fail: a target, a file, an option, a program that is not there."""
    page = (
        "`make gone` and `make test`\n```console\n$ make run ARGS='--gone --model x'  # a comment\n$ A=1 make test lost\n"
        "python examples/99.py\necho hello | streamflow chat --lost\ncurl x\nmake PYTHON=python3.13 test\n```\n"
    )
    assert unknown_in(page) == ["make gone", "--gone", "make lost", "python examples/99.py", "--lost", "curl x"]
