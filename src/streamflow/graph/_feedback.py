"""Edges that lead back: what may be said of one, and what can be wrong with it.

Above: `_builder`, `_edges`, `_dict`. Below: `_spec`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ..errors import ConfigError, Finding
from ._nesting import checked_buffer
from ._spec import FeedbackSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._names import Names
    from ._spec import Graph

__all__ = ["checked_feedback", "loops", "wrong_feedback"]


def checked_feedback(buffer: object, max_rounds: object, on_limit: object) -> tuple[int, FeedbackSpec]:
    """Return the capacity of an edge that leads back, and what is said of it.

    Raises:
        ConfigError: If one of the values is wrong; names it.
    """
    size = checked_buffer(buffer)
    if size is None:
        raise ConfigError("buffer", "an edge that leads back says how much it holds; write feedback(…, buffer=16)")
    if on_limit not in ("error", "drop"):
        raise ConfigError("on_limit", f"'error' or 'drop' was expected, got {on_limit!r:.80}")
    limit = max_rounds
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise ConfigError("max_rounds", f"a whole number from 1 up was expected, or None, got {limit!r:.80}")
    return size, FeedbackSpec(limit, "drop" if on_limit == "drop" else "error")


def loops(graph: Graph) -> list[frozenset[str]]:
    """Return the stages of each loop: those from which elements come back to themselves. Loops that share a stage are one."""
    found: list[frozenset[str]] = []
    following: defaultdict[str, set[str]] = defaultdict(set)
    for edge in graph.edges:
        following[edge.source.stage].add(edge.target.stage)
    for edge in graph.edges:
        if edge.feedback is None or any(edge.source.stage in one for one in found):
            continue
        behind = _reached(edge.target.stage, following)
        loop = frozenset(one for one in behind if edge.target.stage in _reached(one, following))
        if edge.source.stage in loop:
            found.append(loop)
    return found


def wrong_feedback(graph: Graph, names: Names) -> Iterator[Finding]:
    """Yield a finding for each edge that was said to lead back and does not, and each loop that nothing can leave."""
    for edge in graph.edges:
        if edge.feedback is None or not names.has_both(edge):
            continue
        source, target = edge.source.stage, edge.target.stage
        if source != target and source not in graph.downstream(target):
            both = f"{str(edge.source)!r}, {str(edge.target)!r}"
            message = f"feedback({both}) leads forward: nothing comes from {target!r} to {source!r}"
            hint = f"write connect({both}), or name them the other way round"
            yield Finding("feedback-forward", source, message, hint, edge.where)
    ends = {end.stage for end in graph.leaves} | {node.name for node in graph.nodes if not node.outputs}
    for loop in loops(graph):
        is_left = any(edge.source.stage in loop and edge.target.stage not in loop for edge in graph.edges)
        if not is_left and ends.isdisjoint(loop):
            first = next(edge for edge in graph.edges if edge.feedback is not None and edge.source.stage in loop)
            message = f"nothing leaves the loop that feedback({str(first.source)!r}, {str(first.target)!r}) closes"
            hint = f"give {str(first.source)!r} another branch for what is done, or a named output"
            yield Finding("feedback-without-way-out", first.source.stage, message, hint, first.where)


def _reached(begin: str, following: defaultdict[str, set[str]]) -> set[str]:
    """Return what elements from a stage come to, itself only if they come back."""
    found: set[str] = set()
    waiting = list(following[begin])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += following[name]
    return found
