"""LangGraph: a graph that is invoked for each element; it has no stream of elements between its nodes."""

from __future__ import annotations

from typing import Any, TypedDict

from .._environment import PEERS_ENVIRONMENT
from . import Each, Peer, Program, Shape, Source, each_of

__all__ = ["PEERS"]


class State(TypedDict):
    """What the nodes of the graph hand on; LangGraph reads its annotations."""

    element: Any


def _prepare(shape: Shape, each: Each | None) -> Program:
    from langgraph.graph import END, START, StateGraph

    async def node(state: State) -> State:
        return state

    graph: Any = StateGraph(State)
    names = [f"s{number}" for number in range(shape.stages)]
    for name in names:
        graph.add_node(name, node)
    for before, behind in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, behind)
    app = graph.compile()

    async def run(source: Source) -> int:
        count = 0
        async for element in each_of(source):
            await app.ainvoke({"element": element})
            count += 1
            if each is not None:
                await each()
        return count

    return run


PEERS = [
    Peer(
        "LangGraph",
        _prepare,
        backends=("asyncio",),
        packages=("langgraph",),
        environment=PEERS_ENVIRONMENT,
        share=0.005,
    ),
]
