"""The arguments of a tool: their JSON schema, and the reading of what a model has sent into typed values.

Above: `_tool`. Below: `_docstrings`, and pydantic or msgspec, whichever knows the types.
Rules: what cannot be described is an error where the tool is made. What a model gets wrong is told with the path of each mistake,
and without the values. pydantic is imported only for types that msgspec does not know.
"""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from ..errors import ConfigError, StreamflowError
from ._docstrings import read_docstring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..elements import JsonValue

__all__ = ["Arguments", "ArgumentsError", "arguments_of", "arguments_of_type"]

_MAX_MISTAKES = 5
_PLAIN = (bool, int, float, str, type(None))


class ArgumentsError(StreamflowError):
    """What a model has sent does not fit the schema; the text names each path. Never leaves a tool."""


class Arguments(Protocol):
    """How the arguments of a tool are described and read."""

    @property
    def schema(self) -> Mapping[str, JsonValue]:
        """JSON schema, of an object."""
        ...

    def read(self, args: Mapping[str, object]) -> dict[str, object]:
        """Return what the function is called with, by keyword; what was left out is left to its own defaults.

        Raises:
            ArgumentsError: If `args` do not fit.
        """
        ...


class _Parameter:
    """One argument of a function, as its signature says."""

    def __init__(self, name: str, hint: object, default: object, description: str) -> None:
        self.name, self.hint, self.default, self.description = name, hint, default, description

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty


def arguments_of(func: Callable[..., object], name: str, context: type) -> tuple[Arguments, str | None]:
    """Return the arguments of a function, and the name of the parameter that gets the context, if there is one.

    Args:
        func: Whose signature and docstring are read.
        name: Of the tool, for errors.
        context: The type of the parameter that is no argument.

    Raises:
        ConfigError: If a parameter cannot be described; names it.
    """
    try:
        hints = typing.get_type_hints(func, include_extras=True)
    except (NameError, TypeError) as error:
        raise ConfigError("tool", f"{name!r}: its annotations cannot be resolved: {error}") from error
    _, told = read_docstring(inspect.getdoc(func))
    parameters: list[_Parameter] = []
    context_name: str | None = None
    for one in inspect.signature(func).parameters.values():
        hint = hints.get(one.name, inspect.Parameter.empty)
        if (typing.get_origin(hint) or hint) is context:
            context_name = one.name
            continue
        if one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY}:
            raise ConfigError("tool", f"{name!r}: parameter {one.name!r} has no name of its own for a model to fill in")
        if hint is inspect.Parameter.empty:
            hint = (
                "make a tool of a method where it has its object: tool(thing.method)"
                if one.name == "self"
                else "give it a type"
            )
            raise ConfigError("tool", f"{name!r}: parameter {one.name!r} has no annotation; {hint}")
        parameters.append(_Parameter(one.name, hint, one.default, told.get(one.name, "")))
    unknown = sorted(set(told) - {one.name for one in parameters} - {context_name})
    if unknown:
        raise ConfigError("tool", f"{name!r}: its docstring describes {unknown[0]!r}, which is no parameter")
    make = _StructArguments if any(_has_struct(one.hint) for one in parameters) else _ModelArguments
    try:
        return make(parameters), context_name
    except Exception as error:
        for parameter in parameters:
            if not _is_describable(make, parameter):
                message = f"parameter {parameter.name!r} of type {parameter.hint!r:.80} cannot be described to a model"
                hint = "give it a type that JSON can hold, as str, list[int], Literal, a dataclass, a pydantic model, a Struct"
                raise ConfigError("tool", f"{name!r}: {message}; {hint}") from error.with_traceback(None)
        raise ConfigError("tool", f"{name!r}: its parameters cannot be described: {_one_line(error)}") from error


def _is_describable(make: Callable[[list[_Parameter]], object], parameter: _Parameter) -> bool:
    try:
        make([parameter])
    except Exception:  # noqa: BLE001 - both libraries have errors of many types
        return False
    return True


def arguments_of_type(kind: type, name: str, parameter: str) -> Arguments:
    """Return arguments that are the fields of one type: a pydantic model, a Struct, a dataclass.

    Args:
        kind: The type; the function gets one instance of it.
        name: Of the tool, for errors.
        parameter: What the function calls that instance.

    Raises:
        ConfigError: If the type cannot be described, or is no object in JSON.
    """
    try:
        found = _StructType(kind, parameter) if _has_struct(kind) else _ModelType(kind, parameter)
    except Exception as error:
        raise ConfigError("tool", f"{name!r}: {kind!r:.80} cannot be described: {_one_line(error)}") from error
    if found.schema.get("type") != "object":
        raise ConfigError("tool", f"{name!r}: {kind!r:.80} is no object in JSON; give a model with fields")
    return found


class _StructArguments:
    """Parameters that msgspec describes."""

    def __init__(self, parameters: list[_Parameter]) -> None:
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for one in parameters:
            hint: Any = one.hint
            if one.description:
                hint = typing.Annotated[hint, msgspec.Meta(description=one.description)]
            fields.append((one.name, hint) if one.is_required else (one.name, hint, _struct_default(one.default)))
        self._names = [one.name for one in parameters]
        self._struct = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
        self.schema: Mapping[str, JsonValue] = _tidied(msgspec.json.schema(self._struct))

    def read(self, args: Mapping[str, object]) -> dict[str, object]:
        read = _converted(args, self._struct)
        return {name: getattr(read, name) for name in self._names if name in args}


class _StructType:
    """One parameter whose fields msgspec describes."""

    def __init__(self, kind: type, parameter: str) -> None:
        self._kind, self._parameter = kind, parameter
        self.schema: Mapping[str, JsonValue] = _tidied(msgspec.json.schema(kind))

    def read(self, args: Mapping[str, object]) -> dict[str, object]:
        return {self._parameter: _converted(args, self._kind)}


class _ModelArguments:
    """Parameters that pydantic describes. Fields have names of their own: a parameter may be called like a method of a model."""

    def __init__(self, parameters: list[_Parameter]) -> None:
        import pydantic

        fields: dict[str, Any] = {}
        for number, one in enumerate(parameters):
            options: dict[str, Any] = {"alias": one.name}
            if one.description:
                options["description"] = one.description
            if not one.is_required:
                options |= _model_default(one.default)
            fields[f"a{number}"] = (one.hint, pydantic.Field(**options))
        config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=False)
        self._names = {f"a{number}": one.name for number, one in enumerate(parameters)}
        self._model = pydantic.create_model("Arguments", __config__=config, **fields)
        self.schema: Mapping[str, JsonValue] = _tidied(self._model.model_json_schema())

    def read(self, args: Mapping[str, object]) -> dict[str, object]:
        import pydantic

        try:
            read = self._model.model_validate(args)
        except pydantic.ValidationError as error:
            raise ArgumentsError(_mistakes(error)) from None
        return {self._names[field]: getattr(read, field) for field in read.model_fields_set}


class _ModelType:
    """One parameter whose fields pydantic describes."""

    def __init__(self, kind: type, parameter: str) -> None:
        import pydantic

        self._parameter = parameter
        self._adapter: pydantic.TypeAdapter[object] = pydantic.TypeAdapter(kind)
        self.schema: Mapping[str, JsonValue] = _tidied(self._adapter.json_schema())

    def read(self, args: Mapping[str, object]) -> dict[str, object]:
        import pydantic

        try:
            return {self._parameter: self._adapter.validate_python(args)}
        except pydantic.ValidationError as error:
            raise ArgumentsError(_mistakes(error)) from None


def _has_struct(hint: object) -> bool:
    """Say whether a Struct of msgspec is part of a type."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return True
    return any(_has_struct(inner) for inner in typing.get_args(hint))


def _struct_default(default: object) -> object:
    if isinstance(default, list | dict | set):  # msgspec refuses what could be shared
        copy = cast("list[object]", default).copy
        return msgspec.field(default_factory=copy)
    return default


def _model_default(default: object) -> dict[str, object]:
    """Return how pydantic is told of a default: in the schema, if it is plain."""
    return {"default": default} if isinstance(default, _PLAIN) else {"default_factory": lambda: default}


def _converted(args: Mapping[str, object], kind: type) -> object:
    try:
        return msgspec.convert(args, cast("type[object]", kind), strict=False)
    except msgspec.ValidationError as error:
        raise ArgumentsError(str(error)) from None


def _mistakes(error: Any) -> str:
    """Return what pydantic complains of, with the path of each, and without the values."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{_path(one['loc'])}: {one['msg']}" for one in found[:_MAX_MISTAKES]]
    if len(found) > _MAX_MISTAKES:
        told.append(f"and {len(found) - _MAX_MISTAKES} more")
    return "; ".join(told)


def _path(keys: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


def _tidied(schema: dict[str, Any]) -> dict[str, JsonValue]:
    """Return a schema whose top is the object itself, without the titles that repeat the names of classes."""
    reference = schema.get("$ref")
    definitions = dict(schema.get("$defs", {}))
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        top = dict(definitions[name])
        is_recursive = f'"{reference}"' in msgspec.json.encode(definitions).decode()
        if not is_recursive:
            del definitions[name]
        schema = {**top, **({"$defs": definitions} if definitions else {})}
    tidied = cast("dict[str, JsonValue]", _without_titles(schema))
    tidied.setdefault("properties", {})
    return tidied


def _without_titles(value: object) -> object:
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {key: _without_titles(one) for key, one in items if not (key == "title" and isinstance(one, str))}
    if isinstance(value, list):
        return [_without_titles(one) for one in cast("list[object]", value)]
    return value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
