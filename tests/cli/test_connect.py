"""Who answers: options first, then the environment, else the offline provider."""

from __future__ import annotations

import pytest

from streamflow import ConfigError
from streamflow.cli._connect import Connection, connection_for
from streamflow.cli._main import _parser
from streamflow.cli._options import ChatOptions
from streamflow.providers import AnthropicProvider, OpenAIProvider, ScriptedProvider

SECRET = "sk-very-secret"


def options(*arguments: str) -> ChatOptions:
    given = vars(_parser(["chat"]).parse_args(["chat", *arguments]))
    return ChatOptions(**{name: value for name, value in given.items() if name != "command"})


def connect(*arguments: str, is_watched: bool = False) -> Connection:
    return connection_for(options(*arguments), is_watched=is_watched)


@pytest.fixture(autouse=True)
def _no_server(environment: dict[str, str]) -> None:
    pass


def test_without_a_server_the_offline_provider_answers_and_says_so() -> None:
    """It is said plainly, with the way to a real model."""
    connection = connect()

    assert isinstance(connection.provider, ScriptedProvider)
    assert connection.notice.startswith("Offline: a scripted provider answers by rules.")
    assert "--base-url" in connection.notice
    assert "OPENAI_BASE_URL" in connection.notice


@pytest.mark.parametrize(
    ("environment_says", "arguments", "expected"),
    [
        ({}, ["--base-url", "http://a.test/v1"], "http://a.test/v1, the server's own choice of model, without a key."),
        ({}, ["--base-url", "http://a.test/v1", "--model", "m"], "http://a.test/v1, model m, without a key."),
        ({"OPENAI_BASE_URL": "http://b.test"}, [], "http://b.test, the server's own choice of model, without a key."),
        ({"OPENAI_BASE_URL": "http://b.test"}, ["--base-url", "http://a.test"], "http://a.test, the server's own"),
        ({"OPENAI_API_KEY": SECRET}, ["--model", "m"], "https://api.openai.com/v1, model m, with a key."),
        ({"OPENAI_API_KEY": SECRET, "OPENAI_MODEL": "n"}, [], "https://api.openai.com/v1, model n, with a key."),
        (
            {"OPENAI_API_KEY": SECRET, "OPENAI_MODEL": "n", "OPENAI_BASE_URL": "http://b.test"},
            ["--model", "m"],
            "http://b.test, model m, with a key.",
        ),
        (
            {"MY_KEY": SECRET},
            ["--base-url", "http://a.test", "--api-key-env", "MY_KEY", "--model", "m"],
            "http://a.test, model m, with a key.",
        ),
    ],
)
def test_a_server_is_named_by_options_or_by_the_environment(
    environment_says: dict[str, str], arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options win; the notice says what was understood, and never the key."""
    for name, value in environment_says.items():
        monkeypatch.setenv(name, value)

    connection = connect(*arguments)

    assert isinstance(connection.provider, OpenAIProvider)
    assert connection.notice.startswith(f"Server: {expected}")
    assert SECRET not in connection.notice + repr(connection.provider)


@pytest.mark.parametrize(
    ("environment_says", "arguments", "expected"),
    [
        ({"ANTHROPIC_API_KEY": SECRET}, [], "https://api.anthropic.com, the server's own choice of model, with a key."),
        ({"ANTHROPIC_API_KEY": SECRET, "ANTHROPIC_MODEL": "n"}, [], "https://api.anthropic.com, model n, with a key."),
        ({"ANTHROPIC_BASE_URL": "http://b.test"}, ["--model", "m"], "http://b.test, model m, without a key."),
        (
            {"OPENAI_API_KEY": SECRET},
            ["--base-url", "http://a.test", "--model", "m"],
            "http://a.test, model m, without a key.",
        ),
    ],
)
def test_anthropic_s_wire_is_spoken_where_that_is_said(
    environment_says: dict[str, str], arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--provider anthropic`: with variables of its own; a key for somebody else is not sent."""
    for name, value in environment_says.items():
        monkeypatch.setenv(name, value)

    connection = connect("--provider", "anthropic", *arguments)

    assert isinstance(connection.provider, AnthropicProvider)
    assert connection.notice.startswith(f"Server: {expected}")
    assert SECRET not in connection.notice + repr(connection.provider)


def test_a_model_alone_in_the_environment_connects_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OPENAI_MODEL` says which, not where."""
    monkeypatch.setenv("OPENAI_MODEL", "m")

    assert isinstance(connect().provider, ScriptedProvider)


def test_offline_is_offline_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--offline`."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://b.test")

    for arguments in (["--offline"], ["--provider", "scripted"], ["--offline", "--provider", "anthropic"]):
        connection = connect(*arguments)
        assert isinstance(connection.provider, ScriptedProvider)
        assert connection.is_offline


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--model", "m"], "--model"),
        (["--base-url", "http://a.test", "--api-key-env", "NOT_SET"], "--api-key-env"),
        (["--base-url", "not an address"], "base_url"),
        (["--base-url", "http://user:word@a.test"], "base_url"),
    ],
)
def test_options_that_do_not_suffice_are_an_error_that_names_the_option(arguments: list[str], field: str) -> None:
    """A wrong option is told before anybody types."""
    with pytest.raises(ConfigError) as caught:
        connect(*arguments)

    assert caught.value.field == field
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "is_watched", "expected"),
    [([], True, 0.03), ([], False, 0.0), (["--delay-s", "0"], True, 0.0), (["--delay-s", "0.5"], False, 0.5)],
)
def test_words_come_one_by_one_only_where_somebody_watches(
    arguments: list[str], is_watched: bool, expected: float
) -> None:
    """No pause where the output is no terminal, unless it is asked for."""
    connection = connect(*arguments, is_watched=is_watched)

    assert isinstance(connection.provider, ScriptedProvider)
    assert connection.provider._delay_s == expected
