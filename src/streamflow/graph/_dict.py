"""A graph as a dictionary of JSON values, and back: what it joins and how, without the stages themselves, which are code.

Above: `runtime`. Below: `_builder`, `_validation`, `_spec`, `stages`.

```json
{
  "v": 1,
  "stages": [{"name": "ears", "kind": "transform"}, {"name": "sync", "kind": "transform", "inputs": ["heard", "seen"]}, …],
  "edges": [
    {"source": "ears", "target": "sync:heard", "buffer": 4, "weight": {"limit": 500, "unit": "audio_ms"}},
    {"source": "eyes", "target": "sync:seen", "overflow": "latest", "priority": false},
    {"source": "sync", "target": "ears", "buffer": 4, "feedback": {"max_rounds": 3}},
    {"source": "ears", "target": "meter", "tap": true}, …
  ],
  "outer": [{"head": "ears", "overflow": "drop_oldest"}, {"leaf": "log", "buffer": 4}],
  "branches": [
    {"source": "ears", "otherwise": "log", "essential": ["sync:heard"], "dynamic": true},
    {"source": "log", "mode": "route", "by": "type", "choices": ["text", "sound"], "otherwise": "rest"}
  ],
  "merges": ["log", {"target": "out", "policy": "barrier", "max_held": 100}],
  "isolating": ["log"],
  "supervised": [{"stage": "ears", "directive": "restart", "max_restarts": 3, "dead_letters": true}, …],
  "nested": ["chat"]
}
```

What has its default is left out; a merge in the order of arrival is its target alone. What is code is given again, by name: the
stages; the functions of weights by their unit, but for those of our own; the routers of routes (the data says what each chooses by,
and among what); and where it says `"code": true` the policies of merges that have a function, and supervisions with `on` or
`decide`. A field that this release does not know is refused, not skipped: it may change what the graph does. What is said of the
kinds and ports of stages must be true of them. No data is imported or evaluated.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, cast, get_args

from ..channels import Unroutable
from ..errors import (
    BuildError,
    ConfigError,
    DecodeError,
    Finding,
    StageDefinitionError,
    StagePlacementError,
    UnknownStageError,
)
from ..stages import StageKind, as_stage, checked_name, name_given
from ._callers import caller_of_package
from ._edge_data import OPTIONS, Weigh, edge_to_data, with_options
from ._merge_data import MERGE_FIELDS, merge_policy, merge_to_data
from ._router import Router
from ._spec import (
    DEAD_LETTERS,
    OUTSIDE,
    EdgeSpec,
    Endpoint,
    ForkMode,
    ForkSpec,
    Graph,
    JoinSpec,
    NestSpec,
    Node,
    RouteSpec,
)
from ._supervised import NO_SUPERVISIONS, SUPERVISION_FIELDS, supervisions_from_list, supervisions_to_list
from ._validation import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..stages import StageLike, StageSpec, Supervision
    from ._policies import MergePolicy

__all__ = ["graph_from_dict", "graph_to_dict"]

_Word = TypeVar("_Word", bound=str)

_VERSION: Final = 1
_NO_POLICIES: Final[Mapping[str, MergePolicy]] = {}
_NO_WEIGHTS: Final[Mapping[str, Weigh]] = {}
_NO_ROUTERS: Final[Mapping[str, Router]] = {}
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
            | edge_to_data(edge)
            | ({"tap": True} if edge.is_tap else {})
            for edge in graph.edges
        ],
    }
    outer = [
        ({"leaf": str(edge.source)} if edge.target == OUTSIDE else {"head": str(edge.target)}) | edge_to_data(edge)
        for edge in graph.outer
    ]
    found |= _unless_empty("outer", outer)
    found |= _unless_empty("branches", [_fork_to_dict(fork) for fork in graph.forks])
    found |= _unless_empty("merges", [merge_to_data(join) for join in graph.joins])
    found |= _unless_empty("isolating", [str(join.target) for join in graph.joins if join.isolates])
    found |= _unless_empty("supervised", [*supervisions_to_list(graph.nodes)])
    return found | _unless_empty("nested", [nest.name for nest in graph.nested])


def graph_from_dict(
    data: Mapping[str, object],
    stages: Mapping[str, StageLike],
    policies: Mapping[str, MergePolicy] = _NO_POLICIES,
    supervisions: Mapping[str, Supervision] = NO_SUPERVISIONS,
    routers: Mapping[str, Router] = _NO_ROUTERS,
    *,
    weights: Mapping[str, Weigh] = _NO_WEIGHTS,
) -> Graph:
    """Return the graph that `graph_to_dict` described, made of these stages, which are frozen from now on.

    Args:
        data: What `graph_to_dict` returned, or the same from JSON.
        stages: The stages, in any form, by their names in the graph: those of a nested pipeline as `name/stage`.
        policies: The policies of merges that have a function, by what reads: `stage`, or `stage:port`.
        supervisions: By the same names, what to do when they fail, where a part of that is code.
        routers: The rules of routes, by the name of the output, with names as destinations.
        weights: The functions of bounds by weight, by unit; those of `Weight.bytes()` and the like need not be given.

    Raises:
        DecodeError: If the data is malformed, or of a newer version; `path` says where.
        ConfigError: If a policy is missing, not in the graph, or another one than the data says.
        UnknownStageError: If a stage is missing, or not in the graph.
        StageDefinitionError: If one of them is no stage.
        StagePlacementError: If one is of another kind, or has other ports, than the data says; or if a router is missing, or
            another.
        BuildError: If the graph cannot run, or for several of these reasons; with every finding.
    """
    others = ("outer", "branches", "merges", "isolating", "supervised", "nested")
    fields = _fields(data, "$", ("v", "stages", "edges"), others)
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
    graph = _joined(fields, said, where, policies, weights)
    forks = tuple(_forks(fields.get("branches", ()), said, routers, where))
    specs = _specs(said, stages)
    nodes = tuple(Node(one.name, specs[one.name], where, supervised.get(one.name)) for one in said)
    graph = graph.replace(nodes=nodes, forks=forks)
    check(graph)
    for node in graph.nodes:
        if node.stage.freeze is not None:
            node.stage.freeze()
    return graph


def _unless_empty(field: str, values: Sequence[object]) -> dict[str, object]:
    return {field: values} if values else {}


def _joined(
    fields: Mapping[str, object],
    said: Sequence[_Said],
    where: str,
    policies: Mapping[str, MergePolicy],
    weights: Mapping[str, Weigh],
) -> Graph:
    """Return the graph without its stages."""
    inputs = {str(end): end for one in said for end in one.input_ends}
    outputs = {str(end): end for one in said for end in one.output_ends}
    edges: list[EdgeSpec] = []
    for path, item in _items(fields["edges"], "$.edges"):
        edge = _fields(item, path, ("source", "target"), (*OPTIONS, "tap", "feedback"))
        source = _end(edge["source"], f"{path}.source", "output", outputs)
        target = _end(edge["target"], f"{path}.target", "input", inputs)
        is_tap = _switch(edge.get("tap", False), f"{path}.tap")
        edges.append(with_options(EdgeSpec(source, target, where, is_tap=is_tap), edge, path, weights))
    outer: list[EdgeSpec] = []
    for path, item in _items(fields.get("outer", ()), "$.outer"):
        edge = _fields(item, path, (), ("head", "leaf", *OPTIONS))
        if ("head" in edge) == ("leaf" in edge):
            raise DecodeError("either 'head' or 'leaf' was expected", path)
        side = "head" if "head" in edge else "leaf"
        what, known = ("input", inputs) if side == "head" else ("output", outputs)
        end = _end(edge[side], f"{path}.{side}", what, known)
        spec = EdgeSpec(OUTSIDE, end, where) if side == "head" else EdgeSpec(end, OUTSIDE, where)
        outer.append(with_options(spec, edge, path, weights))
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
    joins = [join.replace(isolates=join.target in isolated) for join in joins]
    nested = [NestSpec(_name(item, path), where) for path, item in _items(fields.get("nested", ()), "$.nested")]
    return Graph((), tuple(edges), (), tuple(joins), tuple(nested), tuple(outer))


def _fork_to_dict(fork: ForkSpec) -> dict[str, object]:
    said: dict[str, object] = {"source": str(fork.source)}
    if fork.mode != "branch":
        said["mode"] = fork.mode
    if fork.otherwise is not None:
        said["otherwise"] = str(fork.otherwise)
    if fork.route is not None:
        route = fork.route
        said |= {"by": route.router.kind, "choices": [str(one) for one in route.choices]}
        if list(route.names) != said["choices"]:
            said["names"] = list(route.names)
        if route.unroutable != "drop":
            said["unroutable"] = route.unroutable
    said |= _unless_empty("optional", [str(one) for one in fork.optional])
    said |= _unless_empty("essential", [str(one) for one in fork.essential])
    return said | ({"dynamic": True} if fork.is_dynamic else {})


def _forks(value: object, stages: Sequence[_Said], routers: Mapping[str, Router], where: str) -> list[ForkSpec]:
    """Return the forks, with the routers that were given.

    Raises:
        StagePlacementError: With a finding for each router that is missing, another one, or not in the graph.
    """
    inputs = {str(end): end for one in stages for end in one.input_ends}
    outputs = {str(end): end for one in stages for end in one.output_ends}
    forks: list[ForkSpec] = []
    found: list[Finding] = []
    for path, item in _items(value, "$.branches"):
        others = ("mode", "otherwise", "by", "choices", "names", "unroutable", "optional", "essential", "dynamic")
        said = _fields(item, path, ("source",), others)
        source, otherwise = _end(said["source"], f"{path}.source", "output", outputs), said.get("otherwise")
        rest = None if otherwise is None else _end(otherwise, f"{path}.otherwise", "input", inputs)
        optional, needed = (
            tuple(_end(one, at, "input", inputs) for at, one in _items(said.get(field, ()), f"{path}.{field}"))
            for field in ("optional", "essential")
        )
        mode: ForkMode = _one_of(said.get("mode", "branch"), f"{path}.mode", get_args(ForkMode))
        route = None
        if mode != "route" and (wrong := [one for one in ("by", "choices", "names", "unroutable") if one in said]):
            raise DecodeError("only a route has this field", f"{path}.{wrong[0]}")
        if mode == "route":
            route = _route(said, path, inputs, routers.get(str(source)))
            fault = _other_router(said, route)
            found += (
                [Finding("other-router", source.stage, fault, "give routers={'output': Router.…}")] if fault else []
            )
        is_dynamic = _switch(said.get("dynamic", False), f"{path}.dynamic")
        forks.append(ForkSpec(source, where, rest, optional, mode, route, needed, is_dynamic))
    routed = {str(fork.source) for fork in forks if fork.route is not None}
    for name in routers:
        if name not in routed:
            message = f"a router was given for {name!r:.80}, where there is no route"
            found.append(Finding("other-router", None, message, f"take it away; there are {_listed(sorted(routed))}"))
    if found:
        raise StagePlacementError(found)
    return forks


def _route(said: Mapping[str, object], path: str, inputs: Mapping[str, Endpoint], router: Router | None) -> RouteSpec:
    choices = [_end(one, at, "input", inputs) for at, one in _items(said.get("choices", ()), f"{path}.choices")]
    names = [str(one) for one in choices]
    if "names" in said:
        names = [_text(one, at) for at, one in _items(said["names"], f"{path}.names")]
    if not choices or len(names) != len(choices):
        raise DecodeError("a route has choices, and a name for each", f"{path}.choices")
    unroutable: Unroutable = _one_of(said.get("unroutable", "drop"), f"{path}.unroutable", get_args(Unroutable))
    if unroutable == "default" and "otherwise" not in said:
        raise DecodeError("there is no otherwise that could be the default", f"{path}.unroutable")
    return RouteSpec(router or _MISSING, tuple(choices), tuple(names), unroutable)


def _other_router(said: Mapping[str, object], route: RouteSpec) -> str | None:
    """Say what is wrong with the router that was given for a route, None if it is the one that the data says."""
    output, router = f"the route out of {said['source']!r:.80}", cast("object", route.router)
    if router is _MISSING:
        return f"{output} needs its router, which was not given"
    if not isinstance(router, Router):
        return f"{output} needs a Router, got {router!r:.80}"
    if router.kind != said.get("by") or len(router.choices) != len(route.choices):
        kind = f"{_shown(said.get('by'))} among {len(route.choices)}"
        return (
            f"{output} chooses by {kind}, and the router that was given by {router.kind!r} among {len(router.choices)}"
        )
    ends = zip(router.choices, route.choices, route.names, strict=True)
    other = next((one for one, end, name in ends if isinstance(one, str) and one not in (str(end), name)), None)
    return None if other is None else f"{output} has choices {_listed(list(route.names))}, and the router {other!r:.80}"


_MISSING: Final = Router("function", (), (), partial(name_given, str))


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


def _text(value: object, path: str) -> str:
    if isinstance(value, str):
        return value
    raise DecodeError(f"a name was expected, got {_shown(value)}", path)


def _switch(value: object, path: str) -> bool:
    if isinstance(value, bool):
        return value
    raise DecodeError(f"true or false was expected, got {_shown(value)}", path)


def _one_of(value: object, path: str, allowed: tuple[_Word, ...]) -> _Word:
    found = next((one for one in allowed if one == value), None)
    if found is None:
        raise DecodeError(f"one of {', '.join(map(repr, allowed))} was expected, got {_shown(value)}", path)
    return found


def _shown(value: object) -> str:
    """Return a value from outside for a message: short, and without a look into what may be nested deeply."""
    return f"{value!r:.80}" if value is None or isinstance(value, (str, int, float)) else f"a {type(value).__name__}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - 10
    return ", ".join(f"{one!r:.80}" for one in names[:10]) + (f" and {more} more" if more > 0 else "") or "none"
