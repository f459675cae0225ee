"""How stages are joined: pure data, checked before anything runs.

Above: `runtime`. Below: `stages`, `channels` (what bounds an edge).
"""

from typing import TYPE_CHECKING

from .. import _faces
from ._bounding import bounds_of
from ._builder import GraphBuilder
from ._callers import caller_of_package, describe_place, place_of_caller
from ._feedback import loops
from ._fusion import Fusion, fusion_of
from ._isolation import isolated_stages
from ._nesting import GraphStage, Nestable, SubGraph, checked_buffer
from ._orders import ordering_forks
from ._policies import Arrival, Barrier, Concat, MergePolicy, Ordered, PolicyName, Prioritized, Race, Zip, ZipLatest
from ._router import DROP, Drop, Router, RouterKind
from ._spec import (
    CONSUMER,
    DEAD_LETTERS,
    OUTSIDE,
    SOURCE,
    EdgeSpec,
    Endpoint,
    FeedbackSpec,
    ForkMode,
    ForkSpec,
    Graph,
    JoinSpec,
    NestSpec,
    Node,
    Outside,
    RouteSpec,
    SupervisionSpec,
)
from ._validation import check, findings

if TYPE_CHECKING:
    from ._dict import graph_from_dict, graph_to_dict
    from ._drawing import to_dot, to_mermaid, to_svg
    from ._explain import InFlight, explain, in_flight

__all__ = [
    "CONSUMER",
    "DEAD_LETTERS",
    "DROP",
    "OUTSIDE",
    "SOURCE",
    "Arrival",
    "Barrier",
    "Concat",
    "Drop",
    "EdgeSpec",
    "Endpoint",
    "FeedbackSpec",
    "ForkMode",
    "ForkSpec",
    "Fusion",
    "Graph",
    "GraphBuilder",
    "GraphStage",
    "InFlight",
    "JoinSpec",
    "MergePolicy",
    "NestSpec",
    "Nestable",
    "Node",
    "Ordered",
    "Outside",
    "PolicyName",
    "Prioritized",
    "Race",
    "RouteSpec",
    "Router",
    "RouterKind",
    "SubGraph",
    "SupervisionSpec",
    "Zip",
    "ZipLatest",
    "bounds_of",
    "caller_of_package",
    "check",
    "checked_buffer",
    "describe_place",
    "explain",
    "findings",
    "fusion_of",
    "graph_from_dict",
    "graph_to_dict",
    "in_flight",
    "isolated_stages",
    "loops",
    "ordering_forks",
    "place_of_caller",
    "to_dot",
    "to_mermaid",
    "to_svg",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _faces.loading(
        __name__,
        {
            "._dict": "graph_from_dict graph_to_dict",
            "._drawing": "to_dot to_mermaid to_svg",
            "._explain": "InFlight explain in_flight",
        },
    )
