"""What a stage says about itself in its attributes, checked: kind, limits, named ports, resources.

Above: `_forms`. Below: `_contract`, `_annotations`, `_resources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from .._records import Record
from ._annotations import declared_types
from ._contract import StageKind, checked_name, definition_error
from ._resources import Resource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._admission import ElementTypes
    from ._contract import Bypass
    from ._turns import OnInterrupt

__all__ = [
    "Ports",
    "declared_above_0",
    "declared_bypass",
    "declared_helpers",
    "declared_kind",
    "declared_on_interrupt",
    "declared_ports",
    "declared_resources",
]


class Ports(Record, frozen=True):
    """The named ports of a stage; a side that is empty has the one end without a name."""

    inputs: Mapping[str, ElementTypes]
    """What each named input accepts."""
    outputs: Mapping[str, ElementTypes | None]
    """What each named output emits, None when unknown."""

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs)

    def check_parameters(self, names: Sequence[str], called_as: str, stage: str) -> None:
        """Refuse parameters whose names say something else than the ports do.

        Raises:
            StageDefinitionError: If a mapping of ends would come as `input` or `output`, or one end as `inputs` or `outputs`.
        """
        for position, (side, ports) in enumerate((("input", self.inputs), ("output", self.outputs))):
            taken = names[position] if position < len(names) else None
            if ports and taken == side:
                message = f"stage {stage!r} has named {side}s, but {called_as}() takes {side!r}"
                hint = f"call the parameter '{side}s': it is a mapping, as in {side}s[{next(iter(ports))!r}]"
                raise definition_error(stage, message, hint)
            if not ports and taken == f"{side}s":
                message = f"stage {stage!r}: {called_as}() takes '{side}s', but the stage has no named {side}s"
                hint = f"declare them, as in {side}s={{'name': TextElement}}, or call the parameter {side!r}"
                raise definition_error(stage, message, hint)


def declared_kind(given: object, name: str) -> StageKind:
    """Return the kind of a stage.

    Raises:
        StageDefinitionError: If what it says is none.
    """
    kind = getattr(given, "kind", StageKind.TRANSFORM)
    if isinstance(kind, StageKind):
        return kind
    hint = f"use one of {', '.join(map(str, StageKind))}"
    raise definition_error(name, f"stage {name!r}: kind={kind!r:.80} is no StageKind", hint)


def declared_helpers(given: object, kind: StageKind, name: str, *, is_process: bool) -> bool:
    """Return whether a stage has helpers that the runtime cannot see.

    Args:
        given: The stage.
        kind: Its kind.
        name: Its name.
        is_process: Whether it handles its ends itself: it is no generator, and no function of one element.

    Raises:
        StageDefinitionError: If what it says is neither yes nor no.
    """
    helpers: object = getattr(given, "helpers", None)
    if helpers is None:
        # A live peer moves on its own; what makes elements from nothing may well get them from a thread.
        return kind is StageKind.BIDIRECTIONAL or (kind is StageKind.GENERATE and is_process)
    if isinstance(helpers, bool):
        return helpers
    hint = "True if threads, callbacks or timers of its own use its edges, else False"
    raise definition_error(name, f"stage {name!r}: helpers={helpers!r:.80} is neither yes nor no", hint)


def declared_bypass(given: object, name: str) -> Bypass:
    """Return when what a stage does not accept passes it by.

    Raises:
        StageDefinitionError: If it says something else.
    """
    bypass: object = getattr(given, "bypass", "late")
    if bypass == "late":
        return "late"
    if bypass == "early":
        return "early"
    raise definition_error(
        name, f"stage {name!r}: bypass={bypass!r:.80} is neither 'late' nor 'early'", "use one of them"
    )


def declared_on_interrupt(given: object, kind: StageKind, name: str) -> OnInterrupt:
    """Return what an interruption does to the body of a stage.

    Raises:
        StageDefinitionError: If it says something else.
    """
    said: object = getattr(given, "on_interrupt", None)
    if said is None:
        return "fence" if kind is StageKind.GENERATE else "reenter"
    if said == "reenter":
        return "reenter"
    if said == "fence":
        return "fence"
    message = f"stage {name!r}: on_interrupt={said!r:.80} is neither 'reenter' nor 'fence'"
    raise definition_error(name, message, "use one of them, or cancel parts of the stage with turn_scope()")


def declared_above_0(value: Any, name: str, field: str, wanted: type[int | float]) -> Any:
    """Return `value`, if it is a number above 0, or None.

    Raises:
        StageDefinitionError: If it is not.
    """
    if value is None or (isinstance(value, (int, wanted)) and not isinstance(value, bool) and value > 0):
        return value
    message = f"stage {name!r}: {field}={value!r:.80} is no {wanted.__name__} above 0"
    raise definition_error(name, message, "give one, or None")


def declared_ports(given: object, kind: StageKind, name: str) -> Ports:
    """Return the named ports of a stage.

    Raises:
        StageDefinitionError: If they are no mapping of names to element types, or unlawful for a stage of this kind.
    """
    raw = _mapping_of(given, "inputs", name)
    inputs = {port: declared_types(types, name, f"inputs[{port!r}]") for port, types in raw.items()}
    raw = _mapping_of(given, "outputs", name)
    outputs = {
        port: None if types is None else declared_types(types, name, f"outputs[{port!r}]")
        for port, types in raw.items()
    }
    ports = Ports(MappingProxyType(inputs), MappingProxyType(outputs))
    if ports:
        _check_lawful(given, ports, kind, name)
    return ports


def _mapping_of(given: object, field: str, name: str) -> Mapping[str, object]:
    """Return what `given` says about its ports; empty when it says nothing."""
    said: object = getattr(given, field, None)
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        message = f"stage {name!r}: {field}={said!r:.80} is no mapping of port names to element types"
        raise definition_error(name, message, f"give {field}={{'name': TextElement}}, or nothing")
    ports = cast("Mapping[object, object]", said)
    return {checked_name(given, port, f"the port of {name!r}, in {field}"): types for port, types in ports.items()}


def _check_lawful(given: object, ports: Ports, kind: StageKind, name: str) -> None:
    refused = {
        StageKind.SINK: ("outputs", "a sink has no output"),
        StageKind.GENERATE: ("inputs", "a stage that generates has no input"),
    }
    field, why = refused.get(kind, ("", ""))
    if field and getattr(ports, field):
        raise definition_error(name, f"stage {name!r} has {field}=, but {why}", f"leave {field}= or the kind out")
    if kind is StageKind.ACCUMULATE:
        message = f"stage {name!r} has named ports, so it cannot accumulate: which TurnEnd flushes what is not told"
        raise definition_error(name, message, "leave the kind out, and say with max_held= how many elements it keeps")
    for field, keyword, each in (("inputs", "accepts", ports.inputs), ("outputs", "emits", ports.outputs)):
        if each and getattr(given, keyword, None) is not None:
            message = f"stage {name!r} has both {field}= and {keyword}="
            raise definition_error(name, message, f"say what each port {keyword} in {field}=, and leave {keyword}= out")


def declared_resources(given: object, name: str) -> tuple[Resource[Any], ...]:
    """Return the resources that a stage lists.

    Raises:
        StageDefinitionError: If it lists anything else.
    """
    said: object = getattr(given, "resources", ())
    if not isinstance(said, tuple):
        message = f"stage {name!r}: resources={said!r:.80} is no tuple of Resource"
        raise definition_error(name, message, "write resources = (one,), with the comma")
    for one in cast("tuple[object, ...]", said):
        if not isinstance(one, Resource):
            message = f"stage {name!r}: {one!r:.80} in resources= is no Resource"
            raise definition_error(name, message, "make one of what opens it: Resource(open_client)")
    return cast("tuple[Resource[Any], ...]", said)
