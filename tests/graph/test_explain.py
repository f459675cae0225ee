"""What a graph says of itself in a terminal, and how many elements it says are on their way."""

from __future__ import annotations

import re

import pytest
from graphs import graph, graphs, node
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    DataElement,
    MessageElement,
    PassthroughStage,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    UsageElement,
)
from streamflow.elements import ControlElement
from streamflow.graph import Graph, GraphBuilder, explain, in_flight

CHAIN = """\
3 stages; in brackets what an edge holds: 16 elements.
What a stage does not accept passes it by, in order.

source → strip → shout → count → consumer

source
    to       strip

strip (transform): TextElement → TextElement
    from     source (16)
    to       shout

shout (transform): TextElement → unknown
    from     strip (16)
    to       count

count (transform): any data → unknown
    from     shout (16)
    to       consumer

consumer
    from     count (16)

in flight: at most 68 elements = 64 on 4 edges + 3 in stages + 1 at the source"""

VOICE = """\
8 stages; in brackets what an edge holds: 16 elements, unless it has its own size.
What a stage does not accept passes it by, in order.

source: none, as all that flows is generated

ears (generate): nothing → AudioElement
    from     nothing, it generates
    to       vad

vad (accumulate): AudioElement, TurnEnd → AudioElement
    from     ears (16)
    holds    up to 500 elements
    bypass   early, before the results of what it holds
    to       chat/hear

chat/hear (transform): AudioElement → TextElement
    from     vad (2, its own size)
    timeout  5 s
    to       chat/think/llm

chat/think/llm (transform): TextElement → TextElement, MessageElement, UsageElement
    from     chat/hear (16)
    branch   speak, for TextElement
    branch   transcript, for TextElement, MessageElement
    else     log, for data that no branch accepts

speak (transform): TextElement → AudioElement
    from     chat/think/llm (64, its own size)
    to       consumer

log (sink): any data, any control → nothing
    from     chat/think/llm (16)
    to       nothing, it is a sink

transcript (transform): TextElement, MessageElement → unknown
    from     chat/think/llm (16)
    to       save

save (sink): any data → nothing
    from     transcript (16)
    to       nothing, it is a sink

consumer
    from     speak (16)

sinks: log, save

chat/ contains hear, think/
chat/think/ contains llm

in flight: at most 670 elements = 162 on 8 edges + 507 in stages + 1 at the source"""

PORTS = """\
6 stages; in brackets what an edge holds: 8 elements, unless it has its own size.
What a stage does not accept passes it by, in order.

source: one for each of these, by name
    to       ears
    to       eyes

ears (transform): any data → unknown
    from     source (8)
    branch   sync:heard, for TextElement
    branch   'live caption', for TextElement
    else     data that no branch accepts is dropped, and counted

eyes (transform): any data → unknown
    from     source (8)
    to       sync:seen

sync (transform)
    accepts  heard: TextElement
    from     ears (8)
    accepts  seen: any data
    from     eyes (8, its own size)
    holds    unknown, max_held= says it
    emits    both: DataElement
    to       answer
    emits    late: unknown
    to       consumer

'live caption' (transform): TextElement → unknown
    from     ears (8)
    to       answer

answer (bidirectional): any data → unknown
    merge    sync:both (8)
    merge    'live caption' (8)
    holds    unknown, max_held= says it
    to       'source'

'source' (transform): any data → unknown
    from     answer (8)
    to       consumer

consumer
    merge    sync:late (8)
    merge    'source' (8)

in flight: no bound, as sync and answer do not say how much is held (max_held=); all else at most 88
    elements = 80 on 10 edges + 4 in stages + 2 in merges + 2 at the sources"""


def chain() -> Graph:
    stages = [node("strip", (TextElement,), (TextElement,)), node("shout", (TextElement,)), "count"]
    return graph(stages, ["strip → shout", "shout → count"])


def voice() -> Graph:
    stages = [
        node("ears", emits=(AudioElement,), kind=StageKind.GENERATE),
        node("vad", (AudioElement, TurnEnd), (AudioElement,), kind=StageKind.ACCUMULATE, max_held=500, bypass="early"),
        node("speak", (TextElement,), (AudioElement,)),
        node("log", (StreamElement, ControlElement), kind=StageKind.SINK),
        node("chat/hear", (AudioElement,), (TextElement,), timeout_s=5.0),
        node("chat/think/llm", (TextElement,), (TextElement, MessageElement, UsageElement)),
        node("save", kind=StageKind.SINK),
        node("transcript", (TextElement, MessageElement)),
    ]
    edges = ["ears → vad", "vad → chat/hear (2)", "chat/hear → chat/think/llm", "chat/think/llm → speak (64)"]
    edges += ["chat/think/llm → transcript", "chat/think/llm → log", "transcript → save"]
    return graph(stages, edges, ["chat/think/llm else log"], nested=["chat", "chat/think"])


def ports() -> Graph:
    heard_and_seen = {"heard": (TextElement,), "seen": (StreamElement,)}
    sync = node("sync", input_ports=heard_and_seen, output_ports={"both": (DataElement,), "late": None}, max_held=None)
    answer = node("answer", kind=StageKind.BIDIRECTIONAL, max_held=None)
    edges = ["ears → sync:heard", "ears → live caption", "eyes → sync:seen (8)"]
    edges += ["sync:both → answer", "live caption → answer", "answer → source"]
    stages = ["ears", "eyes", sync, node("live caption", (TextElement,)), answer, "source"]
    return graph(stages, edges, ["ears"], ["answer"])


def blocks(text: str) -> dict[str, list[str]]:
    """Return the indented lines of each block, by its first line."""
    split = (block.splitlines() for block in text.split("\n\n"))
    return {first: [line.strip() for line in more] for first, *more in split}


@pytest.mark.parametrize(
    ("made", "size", "expected"),
    [(chain(), 16, CHAIN), (voice(), 16, VOICE), (ports(), 8, PORTS)],
    ids=["chain", "voice", "ports"],
)
def test_a_graph_is_told_stage_by_stage(made: Graph, size: int, expected: str) -> None:
    """semantics 4.7: stages in their order, kinds and types, who feeds whom, forks, joins, capacities, sinks, groups, the bound."""
    assert explain(made, buffer_size=size) == expected


def test_what_a_builder_makes_can_be_explained() -> None:
    """semantics 4.7: for real stages, and for a pipeline of one."""
    told = explain(GraphBuilder().chain(PassthroughStage("same")).build_graph(), buffer_size=3)

    assert told.splitlines()[0] == "1 stage; in brackets what an edge holds: 3 elements."
    assert "source → same → consumer" in told
    assert told.endswith("at most 8 elements = 6 on 2 edges + 1 in stages + 1 at the source")


def test_a_pipeline_without_source_and_consumer_says_so() -> None:
    """semantics 4.3: what generates is not fed, what sinks is not seen; the way is told without them."""
    stages = [node("tick", kind=StageKind.GENERATE), node("log", kind=StageKind.SINK)]

    told = explain(graph(stages, ["tick → log"]), buffer_size=16).split("\n\n")

    assert told[1] == "tick → log"
    assert told[2] == "source: none, as all that flows is generated"
    assert told[5:7] == ["consumer: gets no data, as all of it ends in sinks", "sinks: log"]


def test_a_stage_that_goes_on_at_an_interruption_is_told_as_fenced() -> None:
    """A reader sees which stages an interruption lets go on; the word and what it means are apart."""
    keeps = PassthroughStage("keeps")
    keeps.on_interrupt = "fence"
    told = explain(GraphBuilder().chain(PassthroughStage("first"), keeps).build_graph(), buffer_size=3)
    assert [line.split() for line in told.splitlines() if "interruption" in line] == [
        ["fenced", "by", "an", "interruption,", "it", "goes", "on"]
    ]


def test_the_way_through_is_only_told_where_there_is_one() -> None:
    """`explain()`: a line of arrows for two stages that stand side by side would be false."""
    beside = graph([node("a", kind=StageKind.GENERATE), node("b", kind=StageKind.GENERATE)])
    forked = graph(
        [
            node("split", output_ports={"x": None, "y": None}),
            node("a", kind=StageKind.SINK),
            node("b", kind=StageKind.SINK),
        ],
        ["split:x → a", "split:y → b"],
    )

    joined = graph(["a", node("sync", input_ports={"x": (StreamElement,), "y": (StreamElement,)})], ["a → sync:x"])

    assert "→ sync" not in explain(joined, buffer_size=16)
    assert "→ b" not in explain(beside, buffer_size=16)
    assert "→ split" not in explain(forked, buffer_size=16)


def test_a_fork_of_which_one_branch_takes_all_data_loses_none() -> None:
    """semantics 4.4: that unclaimed data is dropped is only told where some can be."""
    some = graph(["a", node("b", (TextElement,)), node("c", (AudioElement,))], ["a → b", "a → c"], ["a"])
    all_data = graph(["a", node("b", (TextElement,)), "c"], ["a → b", "a → c"], ["a"])

    assert "dropped" in explain(some, buffer_size=16)
    assert "dropped" not in explain(all_data, buffer_size=16)


@pytest.mark.slow
@given(
    graphs(st.text(min_size=1, max_size=90).filter(lambda name: ":" not in name and name == name.strip())),
    st.integers(1, 99),
)
def test_lines_are_short_whatever_names_are(made: Graph, size: int) -> None:
    """`explain()`: at most 100 columns, printable, without trailing spaces or two empty lines; the same text every time."""
    told = explain(made, buffer_size=size)

    for line in told.split("\n"):
        assert len(line) <= 100
        assert line.isprintable()
        assert line == line.rstrip()
    assert "\n\n\n" not in told
    assert told == explain(made, buffer_size=size)


@pytest.mark.parametrize("name", ["日本語" * 30, "日 本 語 " * 30 + "x", "'\"\\" * 30, "\x1b[31m" * 20, "a" * 500])
def test_wide_and_quoted_names_fit_too(name: str) -> None:
    """`explain()`: a Chinese letter takes two columns, quotes and escapes lengthen a name, and both ends of it are told."""
    made = graph([node(f"b{name}", output_ports={f"b{name}": None}), f"{name}/e"], [f"b{name}:b{name} → {name}/e"])

    told = explain(made, buffer_size=16)

    assert max(sum(2 if one in "日本語" else 1 for one in line) for line in told.split("\n")) <= 100
    assert "\x1b" not in told
    assert re.search(r"/e'? \(transform\): any data", told)


@pytest.mark.slow
@given(graphs(st.text("abc", min_size=1, max_size=5)))
def test_every_edge_is_told_where_it_begins_and_where_it_ends(made: Graph) -> None:
    """semantics 4.7: nothing of the graph is left out, also in graphs that nobody has drawn by hand."""
    lines = blocks(explain(made, buffer_size=16))

    def block(stage: str) -> list[str]:
        return next(more for first, more in lines.items() if first.startswith(f"{stage} ("))

    def word(ends: int, one: str, several: str) -> str:
        return one if ends == 1 else several

    rests = {(fork.source, fork.otherwise) for fork in made.forks}
    for edge in made.edges:
        size = "(16)" if edge.buffer is None else f"({edge.buffer}, its own size)"
        joined = word(len(made.edges_into(edge.target)), "from", "merge")
        assert f"{joined:9}{edge.source} {size}" in block(edge.target.stage)
        forked = word(len(made.edges_out_of(edge.source)), "to", "branch")
        forked = "else" if (edge.source, edge.target) in rests else forked
        assert any(line.split(",")[0] == f"{forked:9}{edge.target}" for line in block(edge.source.stage))
    for head in made.heads:
        assert "from     source (16)" in block(head.stage)
    for leaf in made.leaves:
        assert "to       consumer" in block(leaf.stage)
        assert f"{word(len(made.leaves), 'from', 'merge'):9}{leaf} (16)" in lines["consumer"]


@pytest.mark.slow
@given(graphs(), st.integers(1, 99))
def test_the_bound_is_the_sum_of_its_parts(made: Graph, size: int) -> None:
    """semantics 5.4: edges, what stages declare, one for each merge and source; none where a stage cannot say."""
    bound = in_flight(made, buffer_size=size)
    inputs = [end for one in made.nodes for end in one.inputs]
    fed = [len(made.edges_into(end)) for end in inputs]
    own = [one.buffer for one in made.edges if one.buffer is not None]
    held = [one.stage.max_held for one in made.nodes]

    assert bound.edges == sum(own) + size * (len(made.edges) - len(own) + fed.count(0) + len(made.leaves))
    assert bound.merges == len([count for count in (*fed, len(made.leaves)) if count > 1])
    assert bound.sources == (fed.count(0) or 1)
    assert bound.stages == sum(one or 0 for one in held)
    assert bound.total == (None if None in held else bound.edges + bound.merges + bound.sources + bound.stages)
    assert bound.unbounded == tuple(one.name for one in made.nodes if one.stage.max_held is None)
