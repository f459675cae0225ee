"""`main()`: options and exit codes, without a chat."""

from __future__ import annotations

import importlib.util

import pytest

from streamflow import __version__
from streamflow.cli import main


@pytest.fixture(autouse=True)
def _no_server(environment: dict[str, str]) -> None:
    pass


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`streamflow --version`."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"streamflow {__version__}\n"


def test_help_tells_the_options_the_environment_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """What a user must know is on one screen."""
    assert main(["chat", "--help"]) == 0

    told = capsys.readouterr().out
    for word in ("--base-url", "--model", "--api-key-env", "--system", "--timeout-s", "--backend", "--quiet"):
        assert word in told
    for word in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "exit codes", "130"):
        assert word in told


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Not a traceback, and not success."""
    assert main([]) == 2
    assert "usage: streamflow" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["sing"],
        ["chat", "--timeout-s", "0"],
        ["chat", "--timeout-s", "-1"],
        ["chat", "--timeout-s", "inf"],
        ["chat", "--wait-s", "soon"],
        ["chat", "--delay-s", "nan"],
        ["chat", "--backend", "curio"],
        ["chat", "--no-such-option"],
    ],
)
def test_a_wrong_option_is_told_with_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, as of every command."""
    assert main(arguments) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert "usage:" in told.err
    assert "error:" in told.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["chat", "--model", "m"], "streamflow: --model: needs a server"),
        (["chat", "--base-url", "nowhere"], "streamflow: base_url: is no address"),
    ],
)
def test_options_that_do_not_suffice_are_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line, before anything is said."""
    assert main(arguments) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(expected)
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [(["--backend", "trio"], "trio", "trio"), (["--base-url", "http://127.0.0.1:9/v1"], "httpx2", "http")],
)
def test_a_missing_extra_is_one_line_that_names_it(
    arguments: list[str],
    missing: str,
    extra: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 1, and the command that installs it."""
    import sys

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else real(name))
    monkeypatch.setitem(sys.modules, missing, None)

    assert main(["chat", *arguments]) == 1

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        f"streamflow: {missing!r} is not installed; install it with: pip install 'streamflow-runtime[{extra}]'\n"
    )
