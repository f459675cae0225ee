"""How many streaming chats does one server process serve, beside langchain, pydantic-ai and the openai client?

A model's server, an application behind uvicorn, and a generator of load are three processes. Every client asks, reads the answer
to its end, and asks again. `chat`: one call of the model, whose first chunk comes after 10 ms, and ten more 10 ms apart. `agent`:
the model calls a tool first, which takes 10 ms, and then answers. All contenders speak to the same model, stand behind the same
server on the same event loop, and say the same words; an answer that lacks one is an error, and errors are counted.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from ._cli import main
from ._harness import Case, Results, Sample, Scale, share_of
from ._report import Goal, Report, Table, number, times
from .chats import CONTENDERS

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (1, 1)

FLOOR, OURS, CLIENT = "no model", "streamflow", "openai"
NEAREST = (FLOOR, CLIENT, OURS)
"""Others have fewer clients: they take most of the time, and a server that is busy answers as many."""
_ROOT = Path(__file__).resolve().parent.parent

KINDS = ("chat", "agent")
GOAL, GROWTH = 3.0, 1.05


def cases(scale: Scale) -> list[Case]:
    """Return every contender that is installed, with each kind of chat; where a size is given, the nearest of them alone."""
    if importlib.util.find_spec("uvicorn") is None:
        return []
    is_trial = scale.elements is not None
    near = {"clients": scale.size(500, 100), "waves": 1, "warm": scale.size(500, 100)}
    ours = {**near, "waves": 2}
    far = {"clients": scale.size(200, 100), "waves": 1, "warm": 50}
    return [
        Case(
            f"{peer} / {kind}",
            peer,
            "asyncio",
            {**(ours if peer == OURS else near if peer in NEAREST else far), "kind": kind},
        )
        for kind in (KINDS[1:] if is_trial else KINDS)
        for peer, modules in CONTENDERS.items()
        if all(importlib.util.find_spec(one) is not None for one in modules)
        if not is_trial or peer in NEAREST
    ]


@contextmanager
def _program(name: str, *arguments: str) -> Iterator[tuple[IO[str], IO[str]]]:
    """Start a program, and give what it reads and what it writes; it ends when it has nothing to read any more."""
    command = [sys.executable, "-m", f"benchmarks.chats.{name}", *arguments]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdin, process.stdout
        finally:
            process.stdin.close()
            process.wait(30)


def _cost(port: int) -> Sample:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/cost")
        return cast("Sample", json.loads(connection.getresponse().read()))
    finally:
        connection.close()


def measure(case: Case) -> Sample:
    """Send waves of requests, after one that warms up and opens the connections; return figures per request."""
    clients, kind = case.options["clients"], case.options["kind"]
    with ExitStack() as stack:
        _, said = stack.enter_context(_program("_model"))
        model_port = int(said.readline())
        _, said = stack.enter_context(_program("_server", case.peer, f"http://127.0.0.1:{model_port}/v1"))
        port = int(said.readline())
        orders, told = stack.enter_context(_program("_load", str(port)))

        def wave(requests: int) -> dict[str, Any]:
            order = {"path": f"/{kind}", "clients": clients, "requests": requests}
            orders.write(json.dumps(order) + "\n")
            orders.flush()
            return cast("dict[str, Any]", json.loads(told.readline()))

        at_rest = _cost(port)
        warm = wave(case.options["warm"])
        before, model_before = _cost(port), _cost(model_port)
        rss: list[float] = []
        waves: list[dict[str, Any]] = []
        for _ in range(case.options["waves"]):
            waves.append(wave(clients))
            rss.append(_cost(port)["rss_kib"])
        after, model_after = _cost(port), _cost(model_port)
    count = case.options["waves"] * clients
    wall_s = sum(one["wall_s"] for one in waves)
    errors = [text for one in (warm, *waves) for text in one["errors"]]
    if errors:
        print(f"{case.label}: {errors[0]}", file=sys.stderr)
    return {
        "per_s": count / wall_s,
        "per_cpu_s": count / (after["cpu_s"] - before["cpu_s"]),
        "generator_ms": sum(one["cpu_s"] for one in waves) / count * 1000,
        "model_ms": (model_after["cpu_s"] - model_before["cpu_s"]) / count * 1000,
        "first_ms": [value * 1000 for one in waves for value in one["first_s"]],
        "whole_ms": [value * 1000 for one in waves for value in one["whole_s"]],
        "failed": sum(one["failed"] for one in (warm, *waves)),
        "rss_at_rest_mib": at_rest["rss_kib"] / 1024,
        "rss_mib": [one / 1024 for one in rss],
        "rss_peak_mib": after["peak_kib"] / 1024,
    }


def _share(results: Results, label: str, metric: str, share: float) -> float:
    """Return below which value this share of all rounds lies."""
    values = [one for sample in results.samples[label] for one in sample[metric]]
    return share_of(values, share) if values else 0.0


def report(results: Results) -> Report:
    """Compare with the best of the others, inside each round."""
    return Report([_speed(results), _memory(results)], _goals(results))


def _speed(results: Results) -> Table:
    rows: list[tuple[str, ...]] = []
    for label, case in results.cases.items():
        base = f"{CLIENT} / {case.options['kind']}"
        rows.append(
            (
                label,
                str(case.options["clients"]),
                number(results.median(label, "per_s"), 0),
                number(results.median(label, "per_cpu_s"), 0),
                times(results.ratio(label, base, "per_s")),
                times(results.ratio(label, base, "per_cpu_s")),
                *(number(_share(results, label, "first_ms", share), 0) for share in (0.5, 0.99)),
                *(number(_share(results, label, "whole_ms", share), 0) for share in (0.5, 0.99)),
                str(sum(sample["failed"] for sample in results.samples[label])),
            )
        )
    header = (
        "who, what", "clients", "requests/s", "per CPU s", "÷ openai", "per CPU ÷ openai",
        "first word p50 ms", "p99", "answer p50 ms", "p99", "errors",
    )  # fmt: skip
    return Table("Requests per second, and per second of CPU of the server's process", header, rows)


def _memory(results: Results) -> Table:
    rows: list[tuple[str, ...]] = []
    for label, samples in results.samples.items():
        facts = samples[-1]
        rows.append(
            (
                label,
                number(facts["rss_at_rest_mib"], 0),
                *(number(facts["rss_mib"][place], 1) for place in (0, -1)),
                number(facts["rss_peak_mib"], 0),
                number(results.median(label, "generator_ms")),
                number(results.median(label, "model_ms")),
            )
        )
    header = (
        "who, what",
        "at rest",
        "after wave 1",
        "after the last",
        "peak",
        "generator ms/request",
        "model ms/request",
    )
    return Table("Resident MiB of the server's process; CPU of the two others", header, rows)


def _goals(results: Results) -> list[Goal]:
    goals: list[Goal] = []
    for kind in KINDS:
        ours = f"{OURS} / {kind}"
        if ours not in results:
            continue
        others = [f"{peer} / {kind}" for peer in CONTENDERS if peer not in (OURS, FLOOR)]
        for metric, what in (("per_s", "requests/s"), ("per_cpu_s", "requests per CPU second")):
            ratios = [results.ratio(ours, other, metric) for other in others if other in results]
            if ratios:
                goals.append(Goal(f"{ours}: {what} ÷ the best of the others", min(ratios), GOAL, "at least"))
        growth = statistics.median(one["rss_mib"][-1] / one["rss_mib"][0] for one in results.samples[ours])
        goals.append(Goal(f"{ours}: memory after the last wave ÷ after the first", growth, GROWTH))
        failed = sum(sample["failed"] for sample in results.samples[ours])
        goals.append(Goal(f"{ours}: errors", failed, 0, unit=""))
    return goals


if __name__ == "__main__":
    sys.exit(main(["chats", *sys.argv[1:]]))
