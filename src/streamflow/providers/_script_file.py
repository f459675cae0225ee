"""Scripts in files: JSON or TOML, never code.

Above: users, `streamflow fake-llm`. Below: `_scripted`, `_script`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..elements import StopReason
from ..errors import ConfigError
from ._script import ScriptTurn, Step, When, split_chars, split_randomly, split_words
from ._scripted import Rule, ScriptedProvider

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["load_script"]

_MAX_BYTES = 10 * 1024 * 1024  # a script with a few pictures in it; what is larger is another file, given by mistake


class _Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chars: int | None = None
    seed: int | None = None
    longest: int = 8


class _RuleInFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    when: str
    answer: str = ""
    thinking: str = ""
    stop_reason: StopReason = "stop"


class _TurnInFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    steps: list[Step]
    when: str | When | None = None
    times: int | None = 1  # 0: any number of times, since TOML knows no null


class _ScriptInFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    turns: list[_TurnInFile] = []
    rules: list[_RuleInFile] = []
    default: str | None = None
    delay_s: float = 0.0
    split: _Split = _Split()
    name: str = "scripted"


def load_script(path: str | os.PathLike[str]) -> ScriptedProvider:
    r"""Return the scripted provider that a JSON or TOML file describes.

    The names are those of `ScriptedProvider`, `ScriptTurn`, `When`, `Rule`; a step names itself by its `type`:

    ```toml
    default = "You said: {text}"

    [[turns]]
    when = 'weather in (\w+)'
    steps = [{ type = "thinking", text = "A tool knows." }, { type = "tool_call", name = "weather", args = { city = "{1}" } }]

    [[turns]]
    when = { tool_result = "weather" }
    times = 0                                 # any number of times
    steps = [{ type = "text", text = "It is {result}." }]
    ```

    Types of steps: `text`, `thinking`, `tool_call`, `usage`, `image`, `audio`, `citation`, `refusal`, `stop`, `delay`, `error`,
    `cut`, `malformed`. `split = { chars = 3 }` cuts by characters, `split = { seed = 7 }` at random.

    Args:
        path: Its name ends with `.json` or `.toml`.

    Raises:
        ConfigError: If it cannot be read, is no such file, or says something that does not exist; the text names the place.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError("script", f"{file} cannot be read: {error.strerror or error}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError("script", f"{file} is larger than {_MAX_BYTES} bytes, so it is no script")
    try:
        if file.suffix == ".toml":
            content = msgspec.json.encode(tomllib.loads(content.decode()))
        elif file.suffix != ".json":
            raise ConfigError("script", f"{file} is neither a .json nor a .toml file; name it by what it holds")
        script = msgspec.json.decode(content, type=_ScriptInFile)
        rules = [Rule(one.when, one.answer, one.thinking, one.stop_reason) for one in script.rules]
        turns = [ScriptTurn(one.steps, one.when, one.times or None) for one in script.turns]
        for one in script.rules:
            When(text=one.when)  # looks whether it is a regular expression
        split = _splitter(script.split)
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError("script", f"{file} is no script: {error}") from error
    return ScriptedProvider(
        rules, turns=turns, default=script.default, delay_s=script.delay_s, split=split, name=script.name
    )


def _splitter(split: _Split) -> Callable[[str], list[str]]:
    if split.seed is not None:
        return split_randomly(split.seed, split.longest)
    return split_words if split.chars is None else split_chars(split.chars)
