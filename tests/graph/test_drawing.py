"""Pictures of a graph: Mermaid and DOT are well formed whatever names are, and `dot` is run with care."""

from __future__ import annotations

import html
import os
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from graphs import graph, graphs, node
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    DataElement,
    ImageElement,
    PassthroughStage,
    StageKind,
    TextElement,
    VideoElement,
)
from streamflow.errors import ConfigError, MissingProgramError, ProgramError
from streamflow.graph import Graph, GraphBuilder, _drawing, to_dot, to_mermaid, to_svg

MERMAID = """\
flowchart LR
    source(["source"])
    n0["split"]
    subgraph g0["in"]
        n1>"tick<br/>generate"]
        subgraph g1["deep"]
            n3[("gather<br/>accumulate")]
        end
        n4{{"talk<br/>bidirectional"}}
    end
    n2[["save all<br/>sink"]]
    n5["join"]
    consumer(["consumer"])
    source --> n0
    n0 -->|"TextElement"| n3
    n0 -->|"AudioElement, ImageElement, VideoElement and 1 more<br/>holds 4"| n4
    n0 -.->|"otherwise"| n2
    n3 -->|"#8594; left"| n5
    n1 -->|"#8594; right"| n5
    n4 --> consumer
    n5 -->|"good #8594;"| consumer
    n5 -->|"bad #8594;"| consumer
"""

DOT = """\
digraph pipeline {
    graph [rankdir=LR, fontname="sans-serif"];
    node [fontname="sans-serif"];
    edge [fontname="sans-serif", fontsize=10];
    source [label="source", shape=ellipse];
    n0 [label="split", shape=box];
    subgraph cluster_g0 { label="in"; style=rounded;
        n1 [label="tick\\ngenerate", shape=cds, margin="0.2,0.1"];
        subgraph cluster_g1 { label="deep"; style=rounded;
            n3 [label="gather\\naccumulate", shape=cylinder];
        }
        n4 [label="talk\\nbidirectional", shape=hexagon];
    }
    n2 [label="save all\\nsink", shape=box, peripheries=2];
    n5 [label="join", shape=box];
    consumer [label="consumer", shape=ellipse];
    source -> n0;
    n0 -> n3 [label="TextElement"];
    n0 -> n4 [label="AudioElement, ImageElement, VideoElement and 1 more\\nholds 4"];
    n0 -> n2 [label="otherwise", style=dashed];
    n3 -> n5 [label="→ left"];
    n1 -> n5 [label="→ right"];
    n4 -> consumer;
    n5 -> consumer [label="good →"];
    n5 -> consumer [label="bad →"];
}
"""


def everything() -> Graph:
    """Return a graph that has one of all that can be drawn."""
    sides = {
        "input_ports": {"left": (TextElement,), "right": (TextElement,)},
        "output_ports": {"good": None, "bad": None},
    }
    stages = [
        "split",
        node("in/tick", kind=StageKind.GENERATE),
        node("save all", kind=StageKind.SINK),
        node("in/deep/gather", (TextElement,), kind=StageKind.ACCUMULATE),
        node("in/talk", (AudioElement, ImageElement, VideoElement, DataElement), kind=StageKind.BIDIRECTIONAL),
        node("join", **sides),
    ]
    edges = ["split → in/deep/gather", "split → in/talk (4)", "split → save all"]
    edges += ["in/deep/gather → join:left", "in/tick → join:right"]
    return graph(stages, edges, ["split else save all"], nested=["in"])


def test_a_graph_is_drawn_in_mermaid() -> None:
    """semantics 4.7: shapes by kind, groups, ports, what branches accept, capacities of their own, source and consumer."""
    assert to_mermaid(everything()) == MERMAID


def test_a_graph_is_drawn_in_dot() -> None:
    """semantics 4.7: the same picture in the language of Graphviz."""
    assert to_dot(everything()) == DOT


def test_what_a_builder_makes_can_be_drawn() -> None:
    """semantics 4.7: for real stages; without sinks and generators, source and consumer are there."""
    made = GraphBuilder().chain(PassthroughStage("a"), PassthroughStage("b")).build_graph()

    assert "n0 --> n1\n    n1 --> consumer" in to_mermaid(made)
    assert "n0 -> n1;\n    n1 -> consumer;" in to_dot(made)


def test_source_and_consumer_are_only_drawn_where_they_are_read() -> None:
    """semantics 4.3: a graph that feeds itself and ends in sinks has neither."""
    made = graph([node("a", kind=StageKind.GENERATE), node("b", kind=StageKind.SINK)], ["a → b"])

    assert "source" not in to_mermaid(made) + to_dot(made)
    assert "consumer" not in to_mermaid(made) + to_dot(made)


@pytest.mark.parametrize("name", ["/", "a//b", "/a", "a/", "//"])
def test_a_slash_without_a_name_on_both_sides_makes_no_group(name: str) -> None:
    """`to_mermaid()`: such a name was given to one stage, not made by nesting."""
    assert "subgraph" not in to_mermaid(graph([name])) + to_dot(graph([name]))


def test_a_long_name_is_shown_by_its_beginning_and_end() -> None:
    """`to_dot()`: names often differ in their last letters only."""
    label = dot_labels(to_dot(graph([f"first{'x' * 1000}last"])))["n0"]

    assert label.startswith("first")
    assert label.endswith("last")
    assert len(label) == 48


# Names of every sort


MARKUP = [
    *("end", "subgraph", "%%{init: {}}%%", "direction TB", "a Direction  LR", "style:#x;", "classDef x:#34;", "-->"),
    *("<b>&lt;#35;", "¶ß", "ﬂ°°34¶ß", '"', "\\", '\\"', "\\N", "a\\\\", "`x`", "**x**", "__x__", "1. x", "- x"),
    *("$$x$$", "a\nb", "a]b|c}", "fa:fa-x", "www.x.y"),
]

printable = st.text(
    st.characters(exclude_characters=":/", exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=20
)
visible = st.one_of(printable, st.sampled_from([one for one in MARKUP if one.isprintable() and ":" not in one]))
visible = visible.map(str.strip).filter(bool)
"""Names that are shown as they are."""


def dot_labels(text: str) -> dict[str, str]:
    """Return the labels of nodes, and check that `text` is DOT, by a reading of its grammar that knows nothing of ours."""
    token = re.compile(
        r'\s*(?:(?P<name>[A-Za-z_]\w*|-?\d+(?:\.\d+)?)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<sign>->|[{}\[\];,=]))', re.DOTALL
    )
    tokens: list[tuple[str, str]] = []
    place = 0
    while text[place:].strip():
        found = token.match(text, place)
        assert found, text[place : place + 60]
        tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
        place = found.end()
    labels: dict[str, str] = {}
    depth = 0
    for place, (_, sign) in enumerate(tokens):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth > 0 or place in {0, 1, len(tokens) - 1}
        if sign == "[" and tokens[place + 1][1] == "label" and tokens[place - 2][1] != "->":
            labels[tokens[place - 1][1]] = shown_by_dot(tokens[place + 3])
    assert [sign for _, sign in tokens[:3]] == ["digraph", "pipeline", "{"]
    assert depth == 0
    return labels


def shown_by_dot(token: tuple[str, str]) -> str:
    """Return what a label shows: escapes, then entities, as Graphviz documents them."""
    kind, text = token
    assert kind == "text"
    assert "\n" not in text
    assert re.search(r'\\[^\\"n]', text.replace("\\\\", "")) is None, "an escape that stands for something else"
    return html.unescape(re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text[1:-1]))


MERMAID_LINES = [
    r" *(?P<key>n\d+|source|consumer)(?:\[|\[\(|>|\[\[|\{\{|\(\[)(?P<label>\"[^\"]*\")(?:\]|\)\]|\]\]|\}\}|\]\))",
    r" *subgraph g\d+\[(?P<title>\"[^\"]*\")\]",
    r" *end",
    r" *(?:n\d+|source) (?:-->|-\.->)(?:\|(?P<edge>\"[^\"]*\")\|)? (?:n\d+|consumer)",
]


def mermaid_labels(text: str) -> dict[str, str]:
    """Return the labels of nodes, and check that there is nothing but our own forms, and quoted text without any markup."""
    first, *lines, last = text.split("\n")
    assert (first, last) == ("flowchart LR", "")
    labels: dict[str, str] = {}
    open_groups = 0
    for line in lines:
        found = next(match for form in MERMAID_LINES if (match := re.fullmatch(form, line)))
        open_groups += line.lstrip().startswith("subgraph") - (line.strip() == "end")
        assert open_groups >= 0
        for key, quoted in found.groupdict().items():
            if key in {"label", "title", "edge"} and quoted is not None:
                assert re.fullmatch(r'"(?:[^\W_]|[ ,/_-]|#\d+;|<br/>)*"', quoted), quoted
        # What Mermaid looks for in whole lines, whether quoted or not.
        assert not re.search(r"direction\s+(TB|BT|RL|LR|TD)|%%|\b(style|classDef).*:", line, re.IGNORECASE)
        if found.groupdict().get("label"):
            labels[found["key"]] = re.sub(
                r"#(\d+);", lambda one: chr(int(one[1])), found["label"][1:-1].replace("<br/>", "\n")
            )
    assert open_groups == 0
    return labels


def expected_labels(made: Graph) -> dict[str, str]:
    labels = {"source": "source"} if made.heads else {}
    for number, one in enumerate(made.nodes):
        kind = one.stage.kind
        labels[f"n{number}"] = one.name.split("/")[-1] + ("" if kind is StageKind.TRANSFORM else f"\n{kind.value}")
    return labels | ({"consumer": "consumer"} if made.leaves else {})


@pytest.mark.slow
@given(graphs(visible))
def test_any_name_is_drawn_as_it_is(made: Graph) -> None:
    """`to_dot()`, `to_mermaid()`: names stand in labels, whole and escaped; identifiers are ours."""
    assert dot_labels(to_dot(made)) == expected_labels(made)
    assert mermaid_labels(to_mermaid(made)) == expected_labels(made)


@pytest.mark.parametrize("name", MARKUP)
def test_what_is_markup_elsewhere_is_a_name_here(name: str) -> None:
    """`to_dot()`, `to_mermaid()`: reserved words, directives, entities, Markdown; as a stage, a group and a port."""
    made = graph([node(f"{name}/{name}", output_ports={name: None})])

    told = name.replace("\n", "\\n")
    assert dot_labels(to_dot(made))["n0"] == told
    assert mermaid_labels(to_mermaid(made))["n0"] == told


@pytest.mark.slow
@given(graphs(st.text(min_size=1, max_size=60)))
def test_pictures_are_well_formed_whatever_names_are(made: Graph) -> None:
    """`to_dot()`, `to_mermaid()`: control characters, half a surrogate pair, anything that a string can be."""
    assert dot_labels(to_dot(made)).keys() == expected_labels(made).keys()
    assert mermaid_labels(to_mermaid(made)).keys() == expected_labels(made).keys()
    assert (to_dot(made) + to_mermaid(made)).replace("\n", "").isprintable()


def test_a_broken_picture_is_found() -> None:
    """The checks above can fail: a name that is not escaped ends its label."""
    with pytest.raises((AssertionError, StopIteration)):
        dot_labels(DOT.replace("split", 'sp"lit'))
    with pytest.raises((AssertionError, StopIteration)):
        mermaid_labels(MERMAID.replace("split", 'sp"lit'))


# The program `dot`


needs_dot = pytest.mark.skipif(
    shutil.which("dot") is None, reason="Graphviz is not installed: there is no program 'dot'"
)


def svg_labels(text: str) -> dict[str, str]:
    """Return the labels of nodes in an SVG, where a line is a text and a space may be one without a break."""
    space = "{http://www.w3.org/2000/svg}"
    nodes = [one for one in ET.fromstring(text).iter(f"{space}g") if one.get("class") == "node"]
    return {
        str(one.findtext(f"{space}title")): "\n".join(
            "".join(line.itertext()).replace("\xa0", " ") for line in one.iter(f"{space}text")
        )
        for one in nodes
    }


@needs_dot
def test_graphviz_shows_names_as_they_are() -> None:
    """`to_svg()`: what the real program makes of our DOT."""
    made = graph(
        [one for one in MARKUP if one.isprintable()] + ["a b", "日本語", "é&amp;", "<script>alert(1)</script>"]
    )

    assert svg_labels(to_svg(made)) == expected_labels(made)


@needs_dot
def test_graphviz_draws_all_that_there_is() -> None:
    """`to_svg()`: groups, edges and shapes are what the real program understands."""
    picture = to_svg(everything())

    assert svg_labels(picture) == expected_labels(everything())
    assert picture.count('class="cluster"') == 2
    assert picture.count('class="edge"') == 9
    assert picture.count("stroke-dasharray") == 1


@pytest.fixture
def fake_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes the only program on `PATH`, a shell script called `dot`."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(script: str) -> Path:
        path = tmp_path / "dot"
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)
        return path

    return make


def test_a_missing_program_is_named_with_a_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`MissingProgramError`: pip cannot bring it, so the message says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MissingProgramError, match=r"^'dot': .*install Graphviz") as raised:
        to_svg(everything())

    assert raised.value.program == "dot"


def test_dot_gets_the_picture_and_gives_the_svg(fake_dot, tmp_path: Path) -> None:
    """`to_svg()`: no shell, no file of ours: the arguments are ours, and the names go to standard input."""
    fake_dot(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n/bin/cat > {tmp_path}/read\necho "<svg>é</svg>"')
    made = graph(["$(touch x); `touch y`", "é"], ["$(touch x); `touch y` → é"])

    assert to_svg(made) == "<svg>é</svg>\n"
    assert (tmp_path / "said").read_text() == "-Tsvg\n"
    assert (tmp_path / "read").read_text(encoding="utf-8") == to_dot(made)


def test_dot_need_not_read_what_it_is_given(fake_dot) -> None:
    """`to_svg()`: a program that has closed its input is no broken pipe, also with more than a pipe holds."""
    fake_dot("#!/bin/sh\necho '<svg></svg>'")

    assert to_svg(graph([f"stage{number}" for number in range(1500)])) == "<svg></svg>\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\necho 'no\tway\nmore' >&2\nexit 3", r"it failed with exit status 3: no\\tway$"),
        ("#!/bin/sh\nexit 1", r"it failed with exit status 1$"),
        ("#!/bin/sh\nkill -9 $$", r"it failed with exit status -9$"),
        ("#!/bin/sh\necho hello", r"it wrote 6 bytes that are no SVG"),
        ("#!/bin/sh\necho '</svg>'", r"it wrote 7 bytes that are no SVG"),
        ("#!/bin/sh\nexit 0", r"it wrote 0 bytes that are no SVG"),
        ("#!/bin/sh\nprintf '<svg \\377\\376'", r"it wrote 7 bytes that are no SVG"),
        ("#!/nowhere/at-all\n", r"cannot be run: No such file"),
    ],
    ids=["message", "silence", "signal", "greeting", "an-end", "nothing", "cut-off", "no-interpreter"],
)
def test_a_program_that_fails_is_an_error_with_what_it_says(fake_dot, script: str, message: str) -> None:
    """`ProgramError`: exit status and first line, or that its output is no picture; one line, printable."""
    fake_dot(script)

    with pytest.raises(ProgramError, match=message) as raised:
        to_svg(everything())

    assert not isinstance(raised.value, MissingProgramError)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("stream", ["", " >&2"], ids=["output", "errors"])
def test_a_program_that_writes_too_much_is_stopped(fake_dot, monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    """`to_svg()`: a picture has at most 16 MiB (here 1000 bytes); a program that goes on for ever is not waited for."""
    monkeypatch.setattr(_drawing, "_MAX_BYTES", 1000)
    fake_dot(f"#!/bin/sh\necho '<svg>'{stream}\n/usr/bin/head -c 2000 /dev/zero{stream}\nexec /bin/sleep 1000")

    with pytest.raises(ProgramError, match="it wrote more than 1000 bytes"):
        to_svg(everything())


@pytest.mark.slow
def test_a_program_that_hangs_is_killed_with_all_that_it_started(fake_dot, tmp_path: Path) -> None:
    """`to_svg()`: the time limit holds, though what the program started keeps its output open."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    fake_dot(f"#!/bin/sh\n(/bin/sleep 1000; echo) > {pipe} &\nwait")

    with pytest.raises(ProgramError, match=r"it did not finish within 0\.4 s; raise timeout_s"):
        to_svg(everything(), timeout_s=0.4)

    assert os.read(reader, 1) == b"", "read to the end, because nobody is left who holds the other end"
    os.close(reader)


@pytest.mark.parametrize("limit", [0, -1, float("inf"), float("nan"), True, "1", None])
def test_a_wrong_time_limit_is_refused(limit: float) -> None:
    """`to_svg()`: before anything is run, with the name of the argument."""
    with pytest.raises(ConfigError, match="timeout_s: a limit is a positive number of seconds"):
        to_svg(everything(), timeout_s=limit)
