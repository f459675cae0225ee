"""LangChain: LCEL, a chain of `RunnableGenerator`s that pulls; and LangGraph, a graph that is invoked for each element.

LangGraph has no stream of elements between its nodes: its row is what it costs to use it for each element.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypedDict

from .._environment import PEERS_ENVIRONMENT
from . import Each, Peer, Program, Shape, Source, each_of

__all__ = ["PEERS"]


class State(TypedDict):
    """What the nodes of the graph hand on; LangGraph reads its annotations."""

    element: Any


def _prepare_lcel(shape: Shape, each: Each | None) -> Program:
    from langchain_core.runnables import RunnableGenerator

    async def stage(stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for element in stream:
            if shape.work is not None:
                await shape.work()
            yield element

    chain: Any = RunnableGenerator(stage)
    for _ in range(shape.stages - 1):
        chain = chain | RunnableGenerator(stage)

    async def run(source: Source) -> int:
        count = 0
        async for _element in chain.atransform(each_of(source)):
            count += 1
            if each is not None:
                await each()
        return count

    return run


def _prepare_graph(shape: Shape, each: Each | None) -> Program:
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
        "LCEL",
        _prepare_lcel,
        backends=("asyncio",),
        packages=("langchain-core",),
        environment=PEERS_ENVIRONMENT,
        share=0.2,
        works=True,
    ),
    Peer(
        "LangGraph",
        _prepare_graph,
        backends=("asyncio",),
        packages=("langgraph",),
        environment=PEERS_ENVIRONMENT,
        share=0.005,
    ),
]
