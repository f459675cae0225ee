"""What the tests of pictures and data of graphs share: graphs in one line, and random ones that validation accepts."""

from hypothesis import assume
from hypothesis import strategies as st

from streamflow import AudioElement, MessageElement, StageKind, StreamElement, TextElement, TurnEnd
from streamflow.graph import EdgeSpec, Endpoint, ForkSpec, Graph, JoinSpec, NestSpec, Node, findings
from streamflow.stages import StageSpec

WHERE = "app.py:1"

names = st.text(st.characters(exclude_characters=":"), min_size=1, max_size=12).filter(
    lambda name: name == name.strip()
)
"""What can be the name of a stage or port."""


def start(run):
    raise AssertionError(f"a graph starts nothing, got {run}")


def spec(name, *, kind=StageKind.TRANSFORM, accepts=(StreamElement,), emits=None, **options):
    return StageSpec(name, kind, accepts, emits, start=start, **options)


def node(name, accepts=(StreamElement,), emits=None, **options):
    return Node(name, spec(name, accepts=accepts, emits=emits, **options), WHERE)


def end(text):
    stage, _, port = text.partition(":")
    return Endpoint(stage, port)


def graph(nodes, edges=(), forks=(), joins=(), nested=()):
    """Make a graph; an edge is `a → b` or `a → b (4)`, a fork `a`, or `a else b`."""
    made = []
    for text in edges:
        ends, _, size = text.partition(" (")
        source, target = ends.split(" → ")
        made.append(EdgeSpec(end(source), end(target), WHERE, int(size[:-1]) if size else None))
    split = [text.partition(" else ") for text in forks]
    return Graph(
        tuple(node(one) if isinstance(one, str) else one for one in nodes),
        tuple(made),
        tuple(ForkSpec(end(source), WHERE, end(rest) if rest else None) for source, _, rest in split),
        tuple(JoinSpec(end(text), WHERE) for text in joins),
        tuple(NestSpec(name, WHERE) for name in nested),
    )


@st.composite
def nodes(draw, name, port):
    kind = draw(st.sampled_from(StageKind))
    accepts = draw(st.sampled_from([(StreamElement,), (TextElement,), (TextElement, MessageElement), (AudioElement,)]))
    ports = st.lists(port, max_size=3, unique=True)
    if kind is StageKind.ACCUMULATE:
        accepts, ports = (*accepts, TurnEnd), st.just([])
    inputs = draw(ports) if kind is not StageKind.GENERATE else []
    outputs = draw(ports) if kind is not StageKind.SINK else []
    return node(
        name,
        accepts,
        draw(st.sampled_from([None, None, (TextElement,)])),
        kind=kind,
        max_held=draw(st.sampled_from([1, 1, 7, None])),
        input_ports=dict.fromkeys(inputs, (StreamElement,)),
        output_ports=dict.fromkeys(outputs),
    )


@st.composite
def graphs(draw, name=names):
    """Any graph that validation accepts: stages of all kinds, ports, forks, joins, buffers, groups."""
    parts = st.tuples(st.sampled_from(["", "", "in/", "in/deep/"]), name).map("".join)
    called = draw(st.lists(parts, min_size=1, max_size=7, unique=True))
    stages = [draw(nodes(one, name)) for one in called]
    pairs = [
        (source, target)
        for place, one in enumerate(stages)
        for source in one.outputs
        for other in stages[place + 1 :]
        for target in other.inputs
    ]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=10, unique=True)) if pairs else []
    edges = [EdgeSpec(*pair, WHERE, draw(st.none() | st.integers(1, 40))) for pair in chosen]
    touched = {one.stage for edge in edges for one in (edge.source, edge.target)}
    stages = [one for one in stages if one.name in touched] or stages[:1]
    forks, joins = [], []
    for one in stages:
        for source in one.outputs:
            targets = [edge.target for edge in edges if edge.source == source]
            if len(targets) > 1:
                forks.append(ForkSpec(source, WHERE, draw(st.none() | st.sampled_from(targets))))
        joins += [JoinSpec(into, WHERE) for into in one.inputs if sum(edge.target == into for edge in edges) > 1]
    nested = (
        [NestSpec("in", WHERE)] if any(one.name.startswith("in/") for one in stages) and draw(st.booleans()) else []
    )
    made = Graph(tuple(draw(st.permutations(stages))), tuple(edges), tuple(forks), tuple(joins), tuple(nested))
    assume(not findings(made))
    return made
