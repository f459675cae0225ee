"""Models in which nothing is required, so that half a document can be an object.

Above: `_json_stream`. Below: `errors`; pydantic, if the model is one of it.
Of each model another is made once, with the same fields: what was required is None until it comes, the models inside it are made
the same way, and constraints are left out, because half a text or list may be too short. A model that contains itself is followed
once; below that its objects are dicts.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, cast, get_args, get_origin

import msgspec

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from pydantic import BaseModel

__all__ = ["PartialView", "view_of"]

_MAX_MODELS: Final = 256  # classes made at run time must not pile up here

_GENERICS: Final = frozenset({list, set, frozenset, tuple, dict})


class PartialView:
    """Makes objects of what has come of a document.

    Args:
        read: Takes the document so far and returns the object, or raises `ValueError` where it does not fit.
    """

    def __init__(self, read: Callable[[Mapping[str, Any]], object]) -> None:
        self.read: Callable[[Mapping[str, Any]], object] = read
        """Takes the document so far and returns the object, or raises `ValueError` where it does not fit."""


def view_of(model: object) -> PartialView:
    """Return what makes partial objects of a model, made once for each.

    Raises:
        ConfigError: If it is neither a `msgspec.Struct` nor a pydantic model.
    """
    view = _view_of(model) if isinstance(model, type) else None
    if view is None:
        raise ConfigError("model", f"{model!r:.80} is no msgspec.Struct and no pydantic model; give one of these")
    return view


@functools.lru_cache(_MAX_MODELS)
def _view_of(model: Hashable) -> PartialView | None:
    made = _of_model(model, ())
    if made is None:
        return None
    if issubclass(made, msgspec.Struct):
        return PartialView(functools.partial(msgspec.convert, type=made))
    return PartialView(cast("type[BaseModel]", made).model_validate)


def _of_model(model: object, inside: tuple[type, ...]) -> type | None:
    if not isinstance(model, type):
        return None
    kind = cast("type[object]", model)
    if issubclass(kind, msgspec.Struct):
        return _of_struct(kind, (*inside, kind))
    return _of_pydantic(kind, (*inside, kind)) if hasattr(kind, "__pydantic_fields__") else None


def _of_struct(model: type[msgspec.Struct], inside: tuple[type, ...]) -> type:
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for one in msgspec.structs.fields(model):
        default = msgspec.field(default=None) if one.required else _default(one)
        fields.append((one.name, _of_type(one.type, inside) | None, default))
        names[one.name] = one.encode_name
    config = model.__struct_config__
    return msgspec.defstruct(
        f"Partial{model.__name__}",
        fields,
        rename=names,
        tag=config.tag,
        tag_field=config.tag_field,
        frozen=True,
        kw_only=True,
    )


def _default(one: msgspec.structs.FieldInfo) -> object:
    if one.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=cast("Callable[[], object]", one.default_factory))
    return msgspec.field(default=one.default)


def _of_pydantic(model: type, inside: tuple[type, ...]) -> type:
    from pydantic import ConfigDict, Field, create_model

    fields: dict[str, Any] = {}
    own = cast("type[BaseModel]", model)
    for name, one in own.model_fields.items():
        default = None if one.is_required() else one.get_default(call_default_factory=True, validated_data={})
        alias = one.validation_alias if one.validation_alias is not None else name
        fields[name] = (_of_type(one.annotation, inside) | None, Field(default=default, validation_alias=alias))
    config = ConfigDict(
        arbitrary_types_allowed=True,
        populate_by_name=bool(own.model_config.get("populate_by_name")),
        protected_namespaces=(),
    )
    made: type[BaseModel] = create_model(f"Partial{model.__name__}", __config__=config, **fields)
    return made


def _of_type(annotation: Any, inside: tuple[type, ...]) -> Any:
    """Return a type that accepts half of what an annotation accepts."""
    if annotation in inside:
        return dict[str, Any]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _of_type(args[0], inside)
    if origin is Union or origin is types.UnionType:
        return Union[tuple(_of_type(one, inside) for one in args)]  # noqa: UP007 - of types known only here
    if origin in _GENERICS:
        return types.GenericAlias(
            cast("type", origin), tuple(one if one is ... else _of_type(one, inside) for one in args)
        )
    return _of_model(annotation, inside) or annotation
