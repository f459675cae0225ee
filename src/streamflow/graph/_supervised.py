"""Supervision in a graph: which stages it is said of, and whether what is said of them is lawful.

Above: `_said`, `_validation`. Below: `_nesting`, `_spec`, `stages`.

Dead letters leave a stage by an output of their own, `stage:dead_letters`, which is there only where somebody takes them. It is no
part of the stage: nothing else goes through it, and it makes no fork of the stage's other output.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from .._records import Record
from ..errors import ConfigError, DecodeError, Finding, UnknownStageError
from ..stages import Supervision
from ._nesting import outer_names
from ._spec import DEAD_LETTERS, EdgeSpec, Endpoint, JoinSpec, SupervisionSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ._spec import Graph, Node

__all__ = [
    "NO_SUPERVISIONS",
    "SUPERVISION_FIELDS",
    "SaidOfStage",
    "letters_joined",
    "supervised",
    "supervisions_from_list",
    "supervisions_to_list",
    "unlawful",
]

SUPERVISION_FIELDS: Final = tuple(
    one.name for one in dataclasses.fields(Supervision) if one.name not in {"on", "decide"}
)
"""What of a supervision is data."""

NO_SUPERVISIONS: Final[Mapping[str, Supervision]] = MappingProxyType({})
"""Where no supervision has code in it."""


class SaidOfStage(Record, frozen=True):
    """What one call said of a stage, or of all stages behind a prefix."""

    name: str
    """Name of the stage, or the prefix."""
    supervision: Supervision
    """What to do about its failures."""
    where: str
    """`file:line` of the call."""
    letters: Endpoint | None = None
    """What its dead letters go to."""


def supervised(nodes: Iterable[Node], said: Sequence[SaidOfStage]) -> tuple[list[Node], list[EdgeSpec]]:
    """Return the stages with what was said of them, and the edges for dead letters.

    What is said of a stage by its own name goes before what is said of a prefix, the longer one before the shorter.
    """
    made: list[Node] = []
    edges: list[EdgeSpec] = []
    for node in nodes:
        levels = [node.name, *reversed(outer_names(node.name))]
        found = [one for level in levels for one in said if one.name == level]
        if not found:
            made.append(node)
            continue
        first, *others = found
        other = others[0].where if others and others[0].name == first.name else None
        had_letters = node.supervision is not None and node.supervision.has_letters
        spec = SupervisionSpec(first.supervision, first.where, had_letters or first.letters is not None, other)
        made.append(node.replace(supervision=spec))
        if first.letters is not None:
            edges.append(EdgeSpec(Endpoint(node.name, DEAD_LETTERS), first.letters, first.where))
    return made, edges


def letters_joined(edges: Sequence[EdgeSpec], joins: Sequence[JoinSpec]) -> list[JoinSpec]:
    """Return a join for each input that gets the dead letters of several stages, and nothing else: that they meet is meant."""
    known = {one.target for one in joins}
    into: dict[Endpoint, list[EdgeSpec]] = {}
    for edge in edges:
        into.setdefault(edge.target, []).append(edge)
    return [
        JoinSpec(target, several[0].where)
        for target, several in into.items()
        if len(several) > 1 and target not in known and all(one.source.port == DEAD_LETTERS for one in several)
    ]


def supervisions_to_list(nodes: Iterable[Node]) -> Iterator[dict[str, object]]:
    """Yield what is said of each stage that is supervised, as JSON values; what is code is only marked."""
    for node in nodes:
        spec = node.supervision
        if spec is not None:
            marks = {"code": spec.supervision.has_code, DEAD_LETTERS: spec.has_letters}
            yield {
                "stage": node.name,
                **spec.supervision.to_dict(),
                **{name: True for name, is_so in marks.items() if is_so},
            }


def supervisions_from_list(
    items: Sequence[tuple[str, Mapping[str, object]]],
    names: Sequence[str],
    given: Mapping[str, Supervision],
    where: str,
) -> dict[str, SupervisionSpec]:
    """Return what was said of each stage, by name.

    Args:
        items: What `supervisions_to_list` yielded, each behind its path.
        names: The stages that there are.
        given: Those that are given again, because a part of them is code.
        where: `file:line` of the caller.

    Raises:
        DecodeError: If a value is wrong; `path` says where.
        UnknownStageError: If one that has code was not given, or one was given for a stage of which the data says nothing.
    """
    found: dict[str, SupervisionSpec] = {}
    for path, item in items:
        name = item["stage"]
        if not isinstance(name, str) or name not in names or name in found:
            problem = "is supervised twice" if name in found else "is no stage"
            raise DecodeError(f"{str(name)!r:.80} {problem}", f"{path}.stage")
        marks = {mark: item.get(mark, False) for mark in ("code", DEAD_LETTERS)}
        for mark, value in marks.items():
            if not isinstance(value, bool):
                raise DecodeError(f"true or false was expected, got {value!r:.80}", f"{path}.{mark}")
        values: dict[str, Any] = {field: item[field] for field in item if field in SUPERVISION_FIELDS}
        supervision = given.get(name)
        if supervision is None:
            if marks["code"]:
                message = f"what to do when {name!r} fails is partly code, and was not given"
                raise UnknownStageError(
                    [Finding("missing-supervision", name, message, "add it to supervisions=", where)]
                )
            try:
                supervision = Supervision(**values)
            except ConfigError as error:
                raise DecodeError(str(error), f"{path}.{error.field}") from error
        found[name] = SupervisionSpec(supervision, where, marks[DEAD_LETTERS] is True)
    extra = [name for name in given if name not in found]
    if extra:
        message = f"the graph says nothing of failures of {extra[0]!r:.80}"
        raise UnknownStageError([Finding("extra-supervision", str(extra[0]), message, "take it away", where)])
    return found


def unlawful(graph: Graph) -> list[Finding]:
    """Return a finding for everything that is said of a stage and cannot be done there.

    Args:
        graph: The stages and edges; names are unique, and there is no cycle.
    """
    found: list[Finding] = []
    nodes = {node.name: node for node in graph.nodes}
    for node in graph.nodes:
        spec = node.supervision
        if spec is None:
            continue
        if spec.other is not None:
            message = f"stage {node.name!r} is supervised twice, also at {spec.other}"
            found.append(Finding("supervised-twice", node.name, message, "leave one of the calls out", spec.where))
        found += _directive(node, spec)
        found += _letters(node, spec)
        if spec.supervision.rest_for_one:
            behind = graph.without_letters().downstream(node.name)
            several = [name for name in sorted({node.name, *behind}) if nodes[name].stage.calls == "several"]
            if several:
                listed = " and ".join(map(repr, several))
                message = f"{listed} cannot be restarted with {node.name!r}: several of its calls run at a time"
                hint = "give it concurrency=1, or leave rest_for_one=True out"
                found.append(Finding("unlawful-directive", node.name, message, hint, spec.where))
    return found


def _directive(node: Node, spec: SupervisionSpec) -> list[Finding]:
    directive, calls = spec.supervision.directive, node.stage.calls
    if directive in {"resume", "retry"} and calls == "none":
        message = (
            f"stage {node.name!r} cannot {directive}: it works on a whole stream, so its failure has ended its work"
        )
        hint = "lawful there are 'stop', 'restart' (which may redeliver the element) and 'dead_letter'"
    elif directive == "restart" and calls == "several":
        message = f"stage {node.name!r} cannot restart: several calls run at a time, and only one of them has failed"
        hint = "lawful there are 'stop', 'resume', 'retry' and 'dead_letter', each of which is about one call"
    else:
        return []
    return [Finding("unlawful-directive", node.name, message, hint, spec.where)]


def _letters(node: Node, spec: SupervisionSpec) -> list[Finding]:
    name, supervision = node.name, spec.supervision
    if spec.has_letters and DEAD_LETTERS in node.stage.output_ports:
        message = f"stage {name!r} has an output {DEAD_LETTERS!r} of its own, which is what its dead letters leave by"
        return [Finding("unlawful-directive", name, message, "call that output something else", spec.where)]
    if supervision.may_dead_letter and not spec.has_letters:
        message = f"stage {name!r} makes dead letters, and nothing takes them"
        hint = f"say what does: supervise({name!r}, …, dead_letters=…), such as a CollectStage or a SinkStage"
        return [Finding("no-dead-letters", name, message, hint, spec.where)]
    if spec.has_letters and not supervision.may_dead_letter and supervision.decide is None:
        message = f"stage {name!r} never makes a dead letter, but something is there to take them"
        hint = "leave dead_letters= out, or say which elements it is for, as in Supervision('dead_letter')"
        return [Finding("no-dead-letters", name, message, hint, spec.where)]
    return []
