"""`streamflow chat` with tools and a history: what is called is shown and asked about, what was said is there again."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from streamflow.agents import ToolContext
from streamflow.cli import main
from streamflow.cli._tools import bundled_tools, tools_for
from streamflow.elements import ToolCallElement
from streamflow.errors import ConfigError, ToolError

OWN = '''
from streamflow.agents import tool

@tool(name="calculator", approve="ask")
async def careful(expression: str) -> str:
    """Calculate, if a person agrees."""
    return "certainly 42"

def plain(word: str) -> str:
    """Shout."""
    return word.upper()

several = [careful, plain]
nothing = 7
'''


@pytest.fixture(autouse=True)
def _no_server(environment: dict[str, str]) -> None:
    pass


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with tools, in the current folder."""
    (tmp_path / "own_tools_of_a_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return "own_tools_of_a_test"


async def called(name: str, **args) -> str:
    tool = next(one for one in bundled_tools() if one.name == name)
    call = ToolCallElement("c-1", name, args)
    return str(await tool.run(args, ToolContext(call, None, None)))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("12 * (3 + 4)", "84"), ("2 ** 10 - -1", "1025"), ("7 / 2", "3.5"), ("0.1 + 0.2", "0.3"), ("7 // 2 % 2", "1"),
        ("2 ** -1", "0.5"), ("+3", "3"),
    ],
)  # fmt: skip
async def test_the_calculator_calculates(expression: str, value: str) -> None:
    """semantics 22.17: what a person means by it."""
    assert await called("calculator", expression=expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "9 ** 9 ** 9", "9.0 ** 999", "1 / 0", "(-8) ** 0.5", "__import__('os')", "(1).real", "1 if 1 else 2", "True", "1j",
        "1 << 99", "", "(" * 150 + ")" * 150, "1" * 201, "1;2", "'a' * 9", "2 ** 4000 * 2 ** 4000", "[1][0]",
    ],
)  # fmt: skip
async def test_the_calculator_takes_nothing_else(expression: str) -> None:
    """semantics 22.17: no name, no attribute, no call, no number without bounds; the model is told, and nothing is evaluated."""
    with pytest.raises(ToolError):
        await called("calculator", expression=expression)


async def test_the_other_bundled_tools() -> None:
    """semantics 22.17: the clock, here or elsewhere, and a count."""
    assert re.search(r"20\d\d, \d\d:\d\d:\d\d", await called("time"))
    assert (await called("time", zone="UTC")).endswith("UTC")
    with pytest.raises(ToolError, match="no time zone"):
        await called("time", zone="../../etc/passwd")
    assert await called("count_words", text="one two\nthree") == "3 words, 13 characters, 2 lines"


def test_tools_of_ones_own_are_found_by_module_and_name(own: str) -> None:
    """semantics 22.17: a tool, a function, or a list; what is wrong names the option."""
    assert [one.name for one in tools_for(["bundled", f"{own}:plain"])] == [
        "time",
        "calculator",
        "count_words",
        "plain",
    ]
    assert [one.name for one in tools_for([f"{own}:several"])] == ["calculator", "plain"]
    for wrong in ("plain", f"{own}:", f"{own}:nobody", f"{own}:nothing", "no_such_module:x"):
        with pytest.raises(ConfigError, match="--tools"):
            tools_for([wrong])
    with pytest.raises(ConfigError, match="two of them"):
        tools_for(["bundled", f"{own}:careful"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--resume"], "--resume: needs the file"),
        (["--list"], "--list: needs the file"),
        (["--list", "--history", "nowhere.db"], "--list: there is no file"),
        (["--tools", "nowhere"], "--tools: 'nowhere' is none"),
        (["--provider", "anthropic"], "--provider: needs a server: set ANTHROPIC_API_KEY"),
        (["--provider", "openai"], "--provider: needs a server: set OPENAI_API_KEY"),
    ],
)
def test_what_does_not_suffice_is_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """semantics 22.17, 22.18: exit code 2, and no file is made."""
    monkeypatch.chdir(tmp_path)

    assert main(["chat", "--quiet", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"streamflow: {told}")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the chat in this process, with a pipe as its standard input; returns exit code, output and errors."""

    def run(said: str, *arguments: str) -> tuple[int, str, str]:
        reading, writing = os.pipe()
        os.write(writing, said.encode())
        os.close(writing)
        with os.fdopen(reading) as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            code = main(["chat", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_a_conversation_is_kept_listed_and_goes_on(piped, tmp_path: Path) -> None:
    """semantics 22.18: piped; the title is the first message; the last one goes on, or one by the beginning of its id."""
    history = ["--history", str(tmp_path / "chats.db")]
    first = piped("My name is Ada\nWhat is 6 * 7?\n", "--quiet", *history)
    piped("thanks\n", "--quiet", *history, "--provider", "scripted")
    code, listed, err = piped("", *history, "--list")
    ids = {line.split("  ")[-1]: line.split()[0] for line in listed.splitlines()}
    id = ids["My name is Ada"]
    out = piped("What did I say first?\n", *history, "--resume", id[:8], "--system", "Be brief.")
    last = piped("Hello\n", *history, "--resume", "--backend", "trio")
    none = piped("Hello\n", *history, "--resume", "zz")

    assert first == (0, "Nice to meet you, Ada.\nLet me see.\nThe calculator says: 42\n", "")
    assert (code, err, list(ids)) == (0, "", ["My name is Ada", "thanks"])
    assert "2 turns" in listed
    assert f"This is conversation {id}.\n\nyou> My name is Ada\nbot> Nice to meet you, Ada.\n\n" in out[1]
    assert '[calculator {"expression":"6 * 7"}]\n[calculator → 42]\nThe calculator says: 42\n\n' in out[1]
    assert out[1].endswith(
        'you> What did I say first?\nbot> As far as I can see back, you began with: "My name is Ada"\n\n'
    )
    assert f"This is conversation {id}" in last[1]
    assert none[0] == 2
    assert none[2] == "streamflow: --resume: there is no such conversation; see --list\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "shown"), [("y\n", "[calculator → certainly 42]"), ("\n", "[calculator (denied) → ")]
)
def test_a_tool_that_asks_is_asked_about_in_the_terminal(terminal, own: str, typed: str, shown: str) -> None:
    """semantics 22.17: yes runs it; anything else does not, and the model is told."""
    chat = terminal("--tools", f"{own}:careful", env={"TERM": "dumb"})
    chat.read_until("you> ")
    chat.type("What is 6 * 7?\n")
    asked = chat.read_until("[y/N] ")
    chat.type(typed)

    assert asked.endswith('Run calculator {"expression":"6 * 7"}? ')
    assert shown in chat.read_until("you> ")
    chat.type("/quit\n")
    assert chat.end()[0] == 0


@pytest.mark.slow
def test_a_call_that_waits_is_asked_about_again_when_the_conversation_goes_on(
    terminal, own: str, tmp_path: Path
) -> None:
    """semantics 22.18: the chat was ended at the question; the answer goes on where it had stopped."""
    options = ["--tools", f"{own}:careful", "--history", str(tmp_path / "chats.db")]
    first = terminal(*options, env={"TERM": "dumb"})
    first.read_until("you> ")
    first.type("What is 6 * 7?\n")
    first.read_until("[y/N] ")
    first.process.send_signal(signal.SIGINT)
    first.end()

    chat = terminal(*options, "--resume", env={"TERM": "dumb"})
    asked = chat.read_until("[y/N] ")
    chat.type("y\n")
    answered = chat.read_until("you> ")
    chat.type("/quit\n")

    assert asked.endswith('Run calculator {"expression":"6 * 7"}? ')
    assert "[calculator → certainly 42]" in answered
    assert chat.end()[0] == 0


def test_where_nobody_can_be_asked_a_tool_that_asks_does_not_run(piped, own: str) -> None:
    """semantics 22.17: a pipe consents to nothing, and the answer goes on."""
    code, out, err = piped("What is 6 * 7?\n", "--tools", f"{own}:careful")

    assert (code, err) == (0, "")
    assert "(nobody can be asked, so this does not run: calculator" in out
    assert "certainly 42" not in out


@pytest.mark.slow
def test_a_stopped_answer_is_there_again_as_far_as_it_came(terminal, piped, tmp_path: Path) -> None:
    """semantics 22.18: Ctrl-C keeps what was said, marked as not finished; colours are for terminals that want them."""
    history = ["--history", str(tmp_path / "chats.db")]
    chat = terminal(*history, "--delay-s", "0.1", env={"TERM": "xterm"})
    chat.read_until("you> ")
    chat.type("What is 6 * 7?\n")
    assert "\x1b[2m[calculator → 42]\x1b[22m\n" in chat.read_until("you> ")
    chat.type("What is backpressure?\n")
    chat.read_until("bot> Backpressure is")
    chat.process.send_signal(signal.SIGINT)
    chat.read_until("(stopped)")
    chat.read_until("you> ")
    chat.type("/quit\n")
    chat.end()
    _, out, _ = piped("thanks\n", *history, "--resume", "--offline")

    assert re.search(r"you> What is backpressure\?\nbot> Backpressure is[^\n]*\n\(not finished\)\n\nyou> thanks\n", out)
    assert "\x1b" not in out
