"""Puts the figures of a run where they are told: `python -m benchmarks.figures benchmarks/results/full.json`.

Above: nothing. Below: `_harness`, `_report`, `_goals`; the pages that have figures.

A page says where: between `<!-- figures: NAME -->` and `<!-- end of figures -->` stands what `BLOCKS[NAME]` makes of the run, with
its machine and date. So no figure is copied by hand, and sentences around it have none. What the run did not ask stays as it was.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ._cli import summary
from ._harness import Case, Results
from ._report import Goal, number, times
from .bench_throughput import AWAITED

__all__ = ["BLOCKS", "PAGES", "filled", "main"]

_ROOT = Path(__file__).resolve().parent.parent
PAGES = (_ROOT / "README.md", _ROOT / "benchmarks" / "README.md", _ROOT / "docs" / "guides" / "performance.md")

_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)

Document: TypeAlias = dict[str, Any]
"""What `--json` writes."""


class Row(NamedTuple):
    """A line of a table: what a case costs, beside another one of the same question."""

    words: str
    question: str
    label: str
    base: str
    metric: str = "cpu_us"


QUEUE, QUEUE_10 = "asyncio.Queue / asyncio / 3", "asyncio.Queue / asyncio / 10"
QUEUE_WAITS = f"asyncio.Queue{AWAITED} / asyncio / 3"
_BESIDE_3, _BESIDE_10 = (f"asyncio.Queue / asyncio / {stages} / 16 / iterable" for stages in (3, 10))
SSE = "sse-starlette / paced / asyncio"
_PLAIN = "generators / plain / asyncio"
STAGES = (
    Row("3 bare async generators: no task, no buffer", "throughput", "bare generators / asyncio / 3", QUEUE),
    Row("3 async generators, a task each", "throughput", "streamflow / asyncio / 3", QUEUE),
    Row("3 `process()`, a task each", "throughput", "streamflow process / asyncio / 3", QUEUE),
    Row("3 async generators, behind an async source", "throughput", f"streamflow{AWAITED} / asyncio / 3", QUEUE_WAITS),
    Row("3 async generators, on uvloop", "throughput", "streamflow / uvloop / 3", QUEUE),
    Row("3 async generators, on trio", "throughput", "streamflow / trio / 3", QUEUE),
    Row("10 async generators", "throughput", "streamflow / asyncio / 10", QUEUE_10),
    Row("3 functions, `fuse=False`, a task each", "fusion", "maps / asyncio / 3 / 16 / iterable", _BESIDE_3),
    Row("3 functions, fused; async source", "fusion", "fused / asyncio / 3 / 16 / async", _BESIDE_3),
    Row("3 functions, fused; source that is a list", "fusion", "fused / asyncio / 3 / 16 / iterable", _BESIDE_3),
    Row("10 functions, fused; async source", "fusion", "fused / asyncio / 10 / 16 / async", _BESIDE_10),
    Row("`asyncio.Queue`, 3 tasks by hand", "throughput", QUEUE, QUEUE),
)
RUNS = (
    Row(
        "one more element in a run, alone on its way",
        "latency",
        "streamflow / asyncio",
        "asyncio.Queue / asyncio",
        "p50_us",
    ),
    Row("a run of one element, `execute()`", "startup", "streamflow / asyncio", "asyncio.Queue / asyncio"),
    Row("a call in a session, `session.execute()`", "execute_sync", "in a session / asyncio", "asyncio.run(nothing)"),
    Row("a blocking call, `execute_sync()`", "execute_sync", "execute_sync / asyncio", "asyncio.run(nothing)"),
)
FANS = (
    *(
        Row(
            f"{words} {width}",
            "fan",
            f"{kind} / streamflow / asyncio / {width}",
            f"{kind} / asyncio.Queue / asyncio / {width}",
        )
        for kind, words in (("tee", "a copy to each of"), ("merge", "an element out of a merge of"))
        for width in (2, 8, 64)
    ),
    Row(
        "the same, beside one queue with room for 16 of each",
        "fan",
        "merge / streamflow / asyncio / 64",
        "merge / asyncio.Queue, as much room / asyncio / 64",
    ),
)
TOKENS = (
    *(
        Row(words, "provider", f"{peer} / {wire} / asyncio", f"sdk / {wire} / asyncio")
        for words, peer, wire in (
            ("read from OpenAI's chat completions, `OpenAIProvider`", "streamflow", "chat"),
            ("the same by the SDK's client, `OpenAIClientProvider`", "streamflow over sdk", "chat"),
            ("read from Anthropic's messages, `AnthropicProvider`", "streamflow", "anthropic"),
        )
    ),
    Row("written as a server-sent event, `sse_response()`", "sse", "streamflow / paced / asyncio", SSE),
)
FEATURES = (
    Row("a listener to events", "features_cost", "generators / events / asyncio", _PLAIN),
    Row("`metrics=True`", "features_cost", "generators / metrics / asyncio", _PLAIN),
    Row("`priority=True`", "features_cost", "generators / priority / asyncio", _PLAIN),
    Row('`Tracing(elements="never")`: spans alone', "features_cost", "generators / spans alone / asyncio", _PLAIN),
    Row(
        "`Tracing(elements=0.01)`: one in a hundred",
        "features_cost",
        "generators / one in a hundred traced / asyncio",
        _PLAIN,
    ),
    Row("`tracing=True`: every element", "features_cost", "generators / tracing / asyncio", _PLAIN),
    Row("a recording of the output", "recording", "output / asyncio", "not recorded / asyncio"),
)
_WIDTH = 132
CAPACITIES = (1, 4, 16, 64, 256, 1_000)


def _asked(document: Document, question: str) -> Results | None:
    """Return the samples of a question; None where the run did not ask it."""
    answer = document["questions"].get(question)
    if answer is None:
        return None
    cases = answer["cases"]
    results = Results([Case(one["label"], one["peer"], one["backend"], one["options"]) for one in cases])
    results.samples = {one["label"]: one["samples"] for one in cases}
    return results


def _where(document: Document, rounds: int | None = None) -> str:
    machine = document["machine"]
    busy = " on a busy machine," if (machine["load"] or 0) > machine["cores"] / 2 else ""
    median = "" if rounds is None else f", medians of {rounds} paired rounds"
    facts = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['python']},{busy} {machine['date'][:10]}{median}"
    )
    return f"{facts[0].upper()}{facts[1:]}."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(map(str.strip, one)) + " |" for one in (header, ["---"] * len(header), *rows)]


def _costs(rows: Sequence[Row], what: str, base: str) -> Callable[[Document], list[str] | None]:
    """Return what makes a table of costs, each beside something else."""

    def block(document: Document) -> list[str] | None:
        asked = {row.question: _asked(document, row.question) for row in rows}
        there = {question: results for question, results in asked.items() if results is not None}
        if len(there) < len(asked):
            return None
        cells = [
            (
                row.words,
                number(there[row.question].median(row.label, row.metric)),
                times(there[row.question].ratio(row.label, row.base, row.metric)),
            )
            for row in rows
        ]
        rounds = min(results.rounds for results in there.values())
        return [*_table((what, "CPU μs", base), cells), "", _where(document, rounds)]

    return block


def _edges(document: Document) -> list[str] | None:
    """Make the table of wider edges."""
    results = _asked(document, "growth")
    if results is None:
        return None

    def cells(capacity: int) -> Iterable[str]:
        for peer in ("streamflow", "maps", "asyncio.Queue"):
            label, usual = (f"capacity / {peer} / {size}" for size in (capacity, 16))
            yield f"{number(results.median(label, 'cpu_us'))} ({times(results.ratio(label, usual, 'cpu_us'))})"

    header = ("`buffer_size`", "3 async generators", "3 functions, `fuse=False`", "`asyncio.Queue`")
    rows = [(str(capacity), *cells(capacity)) for capacity in CAPACITIES]
    return [*_table(header, rows), "", _where(document, results.rounds)]


def _goals_of(document: Document) -> list[Goal]:
    known = ("what", "value", "limit", "sense", "unit", "stretch", "number")
    answers = document["questions"].values()
    return [Goal(**{name: one[name] for name in known}) for answer in answers for one in answer["goals"]]


def _goals(document: Document) -> list[str] | None:
    """Make the table of goals; the run asked for all of them."""
    goals = _goals_of(document)
    if not {one.number for one in goals} >= set(range(1, 16)):
        return None
    table = summary([one for one in goals if one.number], whole=True)
    rows = [(*row[:-1], row[-1].replace("MISSED", "**MISSED**")) for row in table.rows]
    names = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    told = textwrap.wrap(f"{table.title}. {_where(document)} {names}.", _WIDTH, break_on_hyphens=False)
    return [*told, "", *_table(table.header, rows)]


def _peers(document: Document) -> list[str] | None:
    """Make the table of all peers; the run had them all."""
    results = _asked(document, "throughput")
    if results is None or document["quick"]:
        return None
    few = [(label, case) for label, case in results.cases.items() if case.options["stages"] == 3]
    rows = [
        (
            f"**{who}**" if (who := label.partition(" / ")[0]).startswith("streamflow") else who,
            case.backend,
            number(results.median(label, "cpu_us")),
            times(results.ratio(label, QUEUE, "cpu_us")),
        )
        for label, case in sorted(few, key=lambda one: results.median(one[0], "cpu_us"))
    ]
    table = _table(("peer", "loop", "CPU μs", "÷ `asyncio.Queue`"), rows)
    return [*table, "", _where(document, results.rounds)]


def _headline(document: Document) -> list[str] | None:
    """Make the sentence for who has never heard of it."""
    results = _asked(document, "throughput")
    if results is None or document["quick"]:
        return None
    ours = "streamflow / asyncio / 3"
    rivals = ("anyio streams", "Pipecat lean", "LCEL", "genai Processor")
    others = [f"{one} {results.ratio(f'{one} / asyncio / 3', ours, 'cpu_us'):.1f}" for one in rivals]
    return [
        f"An element that passes three stages, each a task of its own, costs {times(results.ratio(ours, QUEUE, 'cpu_us'))} "
        "what it costs with `asyncio.Queue`.",
        f"Others cost more than streamflow: {', '.join(others)} times as much",
        f"(`throughput`; {_where(document, results.rounds)[:-1]}).",
    ]


BLOCKS: dict[str, Callable[[Document], list[str] | None]] = {
    "headline": _headline,
    "goals": _goals,
    "peers": _peers,
    "stages": _costs(STAGES, "an element through", "÷ `asyncio.Queue`, as many stages"),
    "edges": _edges,
    "runs": _costs(RUNS, "", "÷ `asyncio.Queue`, or `asyncio.run()` of nothing"),
    "fans": _costs(FANS, "capacity 16", "÷ `asyncio.Queue`"),
    "tokens": _costs(TOKENS, "a token is", "÷ the vendor's client, or sse-starlette"),
    "features": _costs(FEATURES, "3 stages, generators, with", "÷ without"),
}
"""What makes the lines of each block; None: the run did not ask what it tells."""


def filled(page: str, document: Document) -> str:
    """Return a page with the figures of a run.

    Raises:
        KeyError: If the page has a block that nothing makes.
    """

    def block(found: re.Match[str]) -> str:
        lines = BLOCKS[found[2]](document)
        return found[0] if lines is None else found[1] + "\n".join(lines) + "\n" + found[3]

    return _BLOCK.sub(block, page)


def main(argv: Sequence[str]) -> int:
    """Fill all pages with the figures of the run in this file."""
    document = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    for path in PAGES:
        before = path.read_text(encoding="utf-8")
        after = filled(before, document)
        path.write_text(after, encoding="utf-8")
        print(f"{path.relative_to(_ROOT)}: {'written' if after != before else 'has nothing new'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
