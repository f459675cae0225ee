"""How stages are joined: pure data, checked before anything runs.

Above: `runtime`. Below: `stages`.
"""

from ._builder import GraphBuilder, caller_of_package
from ._dict import graph_from_dict, graph_to_dict
from ._drawing import to_dot, to_mermaid, to_svg
from ._explain import InFlight, explain, in_flight
from ._nesting import GraphStage, Nestable, SubGraph, checked_buffer
from ._router import DROP, Drop, Router, RouterKind
from ._spec import EdgeSpec, Endpoint, ForkMode, ForkSpec, Graph, JoinSpec, NestSpec, Node, RouteSpec
from ._validation import check, findings

__all__ = [
    "DROP",
    "Drop",
    "EdgeSpec",
    "Endpoint",
    "ForkMode",
    "ForkSpec",
    "Graph",
    "GraphBuilder",
    "GraphStage",
    "InFlight",
    "JoinSpec",
    "NestSpec",
    "Nestable",
    "Node",
    "RouteSpec",
    "Router",
    "RouterKind",
    "SubGraph",
    "caller_of_package",
    "check",
    "checked_buffer",
    "explain",
    "findings",
    "graph_from_dict",
    "graph_to_dict",
    "in_flight",
    "to_dot",
    "to_mermaid",
    "to_svg",
]
