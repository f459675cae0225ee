"""Settings from outside: environment variables and TOML files, converted, and checked like those that code gives.

Above: `_config`. Below: `errors`. pydantic and tomllib are imported when something is loaded, not before.

An error names the field, the value (80 characters of it at most) and where it came from. Nothing is ignored: a name that is no
setting is an error too, because it is most likely a misspelt one.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast, get_args

import msgspec

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["load_environment", "load_toml", "no_such_setting"]

ConfigT = TypeVar("ConfigT", bound=msgspec.Struct)

_MAX_BYTES = 1_000_000
"""Largest file that is read; settings are a page of text."""

_MAX_NAMED = 10
"""Most tables that an error names."""

_NOT_SETTINGS = ("DEBUG",)
"""Variables that are read elsewhere: `STREAMFLOW_DEBUG` keeps the runtime's own frames in tracebacks."""

_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


class _Given(NamedTuple):
    """One value from outside."""

    value: object
    origin: str


def load_environment(kind: type[ConfigT], prefix: str, environ: Mapping[str, str] | None) -> ConfigT:
    """Return a `kind` made of the variables that begin with `prefix`; None: those of this process.

    Raises:
        ConfigError: If a variable is no setting, or its value is wrong.
    """
    if not isinstance(cast("object", prefix), str) or not prefix:
        raise ConfigError("prefix", f"a text such as 'STREAMFLOW_' was expected, got {prefix!r:.80}")
    variables = os.environ if environ is None else environ
    known = {f"{prefix}{field.upper()}": field for field in kind.__struct_fields__}
    given: dict[str, _Given] = {}
    for name in sorted(variables):
        if name.startswith(prefix) and name.removeprefix(prefix) not in _NOT_SETTINGS:
            if name not in known:
                raise ConfigError(name, f"{no_such_setting(name, known, prefix)} (environment variable)")
            given[known[name]] = _Given(variables[name].strip(), f"environment variable {name}")
    return _make(kind, given, "environment", is_text=True)


def load_toml(kind: type[ConfigT], path: str | os.PathLike[str], table: str) -> ConfigT:
    """Return a `kind` made of one table of a TOML file.

    Raises:
        ConfigError: If the file is no TOML, too large, or has no such table; if a key is no setting, or its value is wrong.
        OSError: If the file cannot be read.
    """
    if not isinstance(cast("object", path), str | os.PathLike):
        raise ConfigError("path", f"the path of a TOML file was expected, got {path!r:.80}")
    found = _table(_read_toml(Path(path)), table, path)
    given: dict[str, _Given] = {}
    for name, value in found.items():
        if name not in kind.__struct_fields__:
            raise ConfigError(name, f"{no_such_setting(name, kind.__struct_fields__)} ({path}, table [{table}])")
        given[name] = _Given(value, f"{path}, key {table}.{name}")
    return _make(kind, given, f"{path}, table [{table}]", is_text=False)


def no_such_setting(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return what to say about a name that is no setting: the one that was meant, or else all that there are."""
    folded = {one.removeprefix(prefix).casefold(): one for one in known}
    near = difflib.get_close_matches(name.removeprefix(prefix).casefold(), folded, n=1)
    hint = f"did you mean {folded[near[0]]}?" if near else f"there are {', '.join(folded.values())}"
    return f"no such setting; {hint}"


def _make(kind: type[ConfigT], given: Mapping[str, _Given], source: str, *, is_text: bool) -> ConfigT:
    """Convert what was given and make a `kind` of it, whose own checks follow."""
    types: dict[str, object] = {field.name: field.type for field in msgspec.structs.fields(kind)}
    values = {name: _convert(name, types[name], one, is_text=is_text) for name, one in given.items()}
    try:
        return kind(**values)
    except ConfigError as wrong:
        origin = given[wrong.field].origin if wrong.field in given else source
        raise ConfigError(wrong.field, f"{wrong.message} ({origin})") from None


def _convert(name: str, wanted: object, given: _Given, *, is_text: bool) -> object:
    from pydantic import TypeAdapter, ValidationError

    value, origin = given
    if bool in get_args(wanted):
        wanted = bool  # what else it may be is made by code
    may_be_none = type(None) in get_args(wanted)
    if may_be_none and isinstance(value, str) and value.casefold() in {"", "none"}:
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", wanted))
    try:
        return adapter.validate_strings(value) if is_text else adapter.validate_python(value, strict=True)
    except ValidationError:
        choices = [repr(one) for one in get_args(wanted) if isinstance(one, str)]  # of a Literal
        expected = " or ".join(choices) or next(
            _EXPECTED[one] for one in (*get_args(wanted), wanted) if one in _EXPECTED
        )
        expected += " or 'none'" if may_be_none else ""
        raise ConfigError(name, f"{expected} was expected, got {value!r:.80} ({origin})") from None


def _read_toml(path: Path) -> dict[str, object]:
    import tomllib  # noqa: PLC0415 - most programs have no such file

    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ConfigError("path", f"{path} has more than {_MAX_BYTES} bytes; settings are a page of text")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as wrong:
        raise ConfigError("path", f"{path} is not UTF-8, from byte {wrong.start} on; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as wrong:
        raise ConfigError("path", f"{path} is no TOML: {wrong!s:.200}") from None
    except RecursionError:
        raise ConfigError("path", f"{path} is nested too deeply; settings are a flat table") from None


def _table(document: Mapping[str, object], table: str, path: str | os.PathLike[str]) -> Mapping[str, object]:
    found: object = document
    for name in table.split("."):
        found = cast("Mapping[str, object]", found).get(name) if isinstance(found, dict) else None
    if isinstance(found, dict):
        return cast("Mapping[str, object]", found)
    if found is not None:
        raise ConfigError(
            "table", f"{table!r:.80} is no table in {path}; write [{table:.80}] and the settings below it"
        )
    tables = [f"[{one:.80}]" for one in _tables(document)]
    more = ", …" if len(tables) > _MAX_NAMED else ""
    there = f"its tables are {', '.join(tables[:_MAX_NAMED])}{more}" if tables else "it has none"
    raise ConfigError("table", f"{path} has no table [{table:.80}]; {there}")


def _tables(document: Mapping[str, object], above: str = "", levels: int = 3) -> Iterator[str]:
    """Yield the names of the tables in a document; those deep inside are nobody's settings."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield above + name
            if levels > 1:
                yield from _tables(cast("Mapping[str, object]", value), f"{above}{name}.", levels - 1)
