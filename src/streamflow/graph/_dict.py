"""A graph as a dictionary of JSON values, and back: what it joins and how, without the stages themselves, which are code.

Above: `runtime`. Below: `_builder`, `_validation`, `_spec`, `stages`.

```json
{
  "v": 1,
  "stages": [{"name": "ears", "kind": "transform"}, {"name": "sync", "kind": "transform", "inputs": ["heard", "seen"]}, …],
  "edges": [{"source": "ears", "target": "sync:heard", "buffer": 4}, …],
  "branches": [{"source": "ears", "otherwise": "log"}],
  "merges": ["log", {"target": "out", "policy": "barrier", "max_held": 100}],
  "isolating": ["log"],
  "supervised": [{"stage": "ears", "directive": "restart", "max_restarts": 3, "dead_letters": true}, …],
  "nested": ["chat"]
}
```

What has its default is left out; a merge in the order of arrival is its target alone. What is code is given again, by name: the
stages, and where it says `"code": true` the policies of merges that have a function, and supervisions with `on` or `decide`. A
field that this release does not know is refused, not skipped: it may change what the graph does. What is said of the kinds and
ports of stages must be true of them. No data is imported or evaluated.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from ..errors import (
    BuildError,
    ConfigError,
    DecodeError,
    Finding,
    StageDefinitionError,
    StagePlacementError,
    UnknownStageError,
)
from ..stages import StageKind, as_stage, checked_name
from ._builder import caller_of_package
from ._merge_data import MERGE_FIELDS, merge_policy, merge_to_data
from ._spec import DEAD_LETTERS, EdgeSpec, Endpoint, ForkSpec, Graph, JoinSpec, NestSpec, Node
from ._supervised import NO_SUPERVISIONS, SUPERVISION_FIELDS, supervisions_from_list, supervisions_to_list
from ._validation import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..stages import StageLike, StageSpec, Supervision
    from ._policies import MergePolicy

__all__ = ["graph_from_dict", "graph_to_dict"]

_VERSION: Final = 1
_NO_POLICIES: Final[Mapping[str, MergePolicy]] = {}
_MOST: Final = 10_000  # items of one list: what comes from outside has a bound


@dataclasses.dataclass(frozen=True, slots=True)
class _Said:
    """What the data says of one stage."""

    name: str
    kind: StageKind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    has_letters: bool = False

    @property
    def input_ends(self) -> list[Endpoint]:
        ports = self.inputs or ([] if self.kind is StageKind.GENERATE else [""])
        return [Endpoint(self.name, port) for port in ports]

    @property
    def output_ends(self) -> list[Endpoint]:
        ports = [*(self.outputs or ([] if self.kind is StageKind.SINK else [""])), *[DEAD_LETTERS] * self.has_letters]
        return [Endpoint(self.name, port) for port in ports]


def graph_to_dict(graph: Graph) -> dict[str, object]:
    """Return what a graph joins and how, as JSON values; of its stages the names, kinds and ports.

    Args:
        graph: One that validation has accepted.
    """
    found: dict[str, object] = {
        "v": _VERSION,
        "stages": [
            {"name": node.name, "kind": node.stage.kind.value}
            | _unless_empty("inputs", list(node.stage.input_ports))
            | _unless_empty("outputs", list(node.stage.output_ports))
            for node in graph.nodes
        ],
        "edges": [
            {"source": str(edge.source), "target": str(edge.target)}
            | ({} if edge.buffer is None else {"buffer": edge.buffer})
            for edge in graph.edges
        ],
    }
    branches = [
        {"source": str(fork.source)}
        | ({} if fork.otherwise is None else {"otherwise": str(fork.otherwise)})
        | _unless_empty("optional", [str(one) for one in fork.optional])
        for fork in graph.forks
    ]
    found |= _unless_empty("branches", branches)
    found |= _unless_empty("merges", [merge_to_data(join) for join in graph.joins])
    found |= _unless_empty("isolating", [str(join.target) for join in graph.joins if join.isolates])
    found |= _unless_empty("supervised", [*supervisions_to_list(graph.nodes)])
    return found | _unless_empty("nested", [nest.name for nest in graph.nested])


def graph_from_dict(
    data: Mapping[str, object],
    stages: Mapping[str, StageLike],
    policies: Mapping[str, MergePolicy] = _NO_POLICIES,
    supervisions: Mapping[str, Supervision] = NO_SUPERVISIONS,
) -> Graph:
    """Return the graph that `graph_to_dict` described, made of these stages, which are frozen from now on.

    Args:
        data: What `graph_to_dict` returned, or the same from JSON.
        stages: The stages, in any form, by their names in the graph: those of a nested pipeline as `name/stage`.
        policies: The policies of merges that have a function, by what reads: `stage`, or `stage:port`.
        supervisions: By the same names, what to do when they fail, where a part of that is code.

    Raises:
        DecodeError: If the data is malformed, or of a newer version; `path` says where.
        ConfigError: If a policy is missing, not in the graph, or another one than the data says.
        UnknownStageError: If a stage is missing, or not in the graph.
        StageDefinitionError: If one of them is no stage.
        StagePlacementError: If one is of another kind, or has other ports, than the data says.
        BuildError: If the graph cannot run, or for several of these reasons; with every finding.
    """
    fields = _fields(data, "$", ("v", "stages", "edges"), ("branches", "merges", "isolating", "supervised", "nested"))
    _check_version(fields["v"])
    where = caller_of_package()
    said = _stages(fields["stages"])
    items = [
        (path, _fields(item, path, ("stage",), (*SUPERVISION_FIELDS, "code", DEAD_LETTERS)))
        for path, item in _items(fields.get("supervised", ()), "$.supervised")
    ]
    supervised = supervisions_from_list(items, [one.name for one in said], supervisions, where)
    taken = {name for name, spec in supervised.items() if spec.has_letters}
    said = [dataclasses.replace(one, has_letters=one.name in taken) for one in said]
    graph = _joined(fields, said, where, policies)
    specs = _specs(said, stages)
    nodes = (Node(one.name, specs[one.name], where, supervised.get(one.name)) for one in said)
    graph = dataclasses.replace(graph, nodes=tuple(nodes))
    check(graph)
    for node in graph.nodes:
        if node.stage.freeze is not None:
            node.stage.freeze()
    return graph


def _unless_empty(field: str, values: Sequence[object]) -> dict[str, object]:
    return {field: values} if values else {}


def _joined(
    fields: Mapping[str, object], said: Sequence[_Said], where: str, policies: Mapping[str, MergePolicy]
) -> Graph:
    """Return the graph without its stages."""
    inputs = {str(end): end for one in said for end in one.input_ends}
    outputs = {str(end): end for one in said for end in one.output_ends}
    edges: list[EdgeSpec] = []
    for path, item in _items(fields["edges"], "$.edges"):
        edge = _fields(item, path, ("source", "target"), ("buffer",))
        source = _end(edge["source"], f"{path}.source", "output", outputs)
        target = _end(edge["target"], f"{path}.target", "input", inputs)
        edges.append(EdgeSpec(source, target, where, _buffer(edge.get("buffer"), f"{path}.buffer")))
    forks: list[ForkSpec] = []
    for path, item in _items(fields.get("branches", ()), "$.branches"):
        fork = _fields(item, path, ("source",), ("otherwise", "optional"))
        source, otherwise = _end(fork["source"], f"{path}.source", "output", outputs), fork.get("otherwise")
        rest = None if otherwise is None else _end(otherwise, f"{path}.otherwise", "input", inputs)
        optional = _items(fork.get("optional", ()), f"{path}.optional")
        forks.append(ForkSpec(source, where, rest, tuple(_end(one, at, "input", inputs) for at, one in optional)))
    joins: list[JoinSpec] = []
    code: list[str] = []
    for path, item in _items(fields.get("merges", ()), "$.merges"):
        merge: Mapping[str, object] = {"target": item}
        if isinstance(item, Mapping):
            merge = _fields(cast("object", item), path, ("target", "policy"), MERGE_FIELDS)
        target = _end(merge["target"], path if merge.get("policy") is None else f"{path}.target", "input", inputs)
        joins.append(JoinSpec(target, where, merge_policy(merge, path, policies.get(str(target)))))
        code += [str(target)] if joins[-1].policy.is_code else []
    extra = next((one for one in policies if one not in code), None)
    if extra is not None:
        raise ConfigError("policies", f"the graph has no merge {extra!r:.80} whose policy has a function; take it away")
    targets = {str(join.target): join.target for join in joins}
    isolated = {_end(item, path, "merge", targets) for path, item in _items(fields.get("isolating", ()), "$.isolating")}
    joins = [dataclasses.replace(join, isolates=join.target in isolated) for join in joins]
    nested = [NestSpec(_name(item, path), where) for path, item in _items(fields.get("nested", ()), "$.nested")]
    return Graph((), tuple(edges), tuple(forks), tuple(joins), tuple(nested))


def _stages(value: object) -> list[_Said]:
    said: dict[str, _Said] = {}
    for path, item in _items(value, "$.stages"):
        fields = _fields(item, path, ("name", "kind"), ("inputs", "outputs"))
        name = _name(fields["name"], f"{path}.name")
        if name in said:
            raise DecodeError(f"a second stage {name!r:.80}", f"{path}.name")
        kinds = {kind.value: kind for kind in StageKind}
        kind = fields["kind"]
        if not isinstance(kind, str) or kind not in kinds:
            raise DecodeError(f"{_shown(kind)} is no kind of stage; there are {', '.join(kinds)}", f"{path}.kind")
        inputs, outputs = (_ports(fields.get(side, ()), f"{path}.{side}") for side in ("inputs", "outputs"))
        said[name] = _Said(name, kinds[kind], inputs, outputs)
    return list(said.values())


def _specs(said: Sequence[_Said], stages: Mapping[str, StageLike]) -> dict[str, StageSpec]:
    """Return the stages that were given, if they are those that the data names, and as it says.

    Raises:
        BuildError: With every finding; its subclass when all findings are of one class.
    """
    if not isinstance(cast("object", stages), Mapping):
        message = f"a mapping of names to stages was expected, got {stages!r:.80}"
        raise StageDefinitionError([Finding("not-a-stage", None, message, "write {'name': stage, …}")])
    specs: dict[str, StageSpec] = {}
    found: list[tuple[type[BuildError], Finding]] = []
    for one in said:
        if one.name not in stages:
            message, hint = f"the graph has a stage {one.name!r}, which was not given", "add it to stages="
            found.append((UnknownStageError, Finding("missing-stage", one.name, message, hint)))
            continue
        try:
            specs[one.name] = spec = as_stage(stages[one.name])
        except StageDefinitionError as error:
            found += [(StageDefinitionError, finding) for finding in error.findings]
        else:
            found += [(StagePlacementError, finding) for finding in _differences(one, spec)]
    names = {one.name: None for one in said}
    found += [(UnknownStageError, _extra(name, [*names])) for name in stages if name not in names]
    if found:
        classes = {kind for kind, _ in found}
        raise (classes.pop() if len(classes) == 1 else BuildError)([finding for _, finding in found])
    return specs


def _extra(name: object, names: Sequence[str]) -> Finding:
    near = difflib.get_close_matches(name, names, n=1) if isinstance(name, str) else []
    hint = f"did you mean {near[0]!r}?" if near else f"take it away; the graph has {_listed(names)}"
    return Finding("extra-stage", str(name), f"the graph has no stage {name!r:.80}", hint)


def _differences(said: _Said, spec: StageSpec) -> list[Finding]:
    """Return a finding for each thing that the data says of a stage and that is not so."""
    pairs = {
        "kind": (said.kind.value, spec.kind.value),
        "inputs": (_listed(sorted(said.inputs)), _listed(sorted(spec.input_ports))),
        "outputs": (_listed(sorted(said.outputs)), _listed(sorted(spec.output_ports))),
    }
    hint = "give the stage that the graph was made with, or change the data"
    return [
        Finding(
            "other-stage", said.name, f"stage {said.name!r}: {what} in the data: {wanted}; of the stage: {found}", hint
        )
        for what, (wanted, found) in pairs.items()
        if wanted != found
    ]


def _check_version(version: object) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DecodeError(f"{_shown(version)} is no version of a graph", "$.v")
    if version > _VERSION:
        raise DecodeError(f"version {version} of a graph is newer than {_VERSION}; update streamflow", "$.v")


def _fields(value: object, path: str, needed: tuple[str, ...], others: tuple[str, ...]) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise DecodeError(f"an object was expected, got {_shown(value)}", path)
    given = cast("Mapping[object, object]", value)
    for field in given:
        if field not in needed and field not in others:
            raise DecodeError(f"there is no field {_shown(field)}; there are {', '.join(needed + others)}", path)
    for field in needed:
        if field not in given:
            raise DecodeError(f"the field {field!r} is missing", path)
    return cast("Mapping[str, object]", value)


def _items(value: object, path: str) -> list[tuple[str, object]]:
    """Return the items of a list, each behind its path."""
    if not isinstance(value, (list, tuple)):
        raise DecodeError(f"a list was expected, got {_shown(value)}", path)
    items = cast("Sequence[object]", value)
    if len(items) > _MOST:
        raise DecodeError(f"a list of {len(items)} items; at most {_MOST} are read", path)
    return [(f"{path}[{place}]", item) for place, item in enumerate(items)]


def _name(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise DecodeError(f"a name was expected, got {_shown(value)}", path)
    try:
        return checked_name(None, value, "a stage or port")
    except StageDefinitionError as error:
        (finding,) = error.findings
        raise DecodeError(f"{finding.message}; {finding.hint}", path) from None


def _ports(value: object, path: str) -> tuple[str, ...]:
    ports = [_name(item, place) for place, item in _items(value, path)]
    if len(set(ports)) < len(ports):
        raise DecodeError("a port is there twice", path)
    return tuple(ports)


def _end(value: object, path: str, what: str, known: Mapping[str, Endpoint]) -> Endpoint:
    """Return the endpoint of that name, among those that can stand here."""
    if not isinstance(value, str):
        raise DecodeError(f"a name was expected, 'stage' or 'stage:port', got {_shown(value)}", path)
    if value in known:
        return known[value]
    name = value.partition(":")[0]
    own = [one for one, end in known.items() if end.stage == name]
    there = f"stage {name!r:.80} has {_listed(own)}" if own else f"there are {_listed([*known])}"
    raise DecodeError(f"{value!r:.80} is no {what}; {there}", path)


def _buffer(value: object, path: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise DecodeError(f"an edge holds at least 1 element, got {_shown(value)}", path)


def _shown(value: object) -> str:
    """Return a value from outside for a message: short, and without a look into what may be nested deeply."""
    return f"{value!r:.80}" if value is None or isinstance(value, (str, int, float)) else f"a {type(value).__name__}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - 10
    return ", ".join(f"{one!r:.80}" for one in names[:10]) + (f" and {more} more" if more > 0 else "") or "none"
