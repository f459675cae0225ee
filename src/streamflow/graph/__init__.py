"""How stages are joined: pure data, checked before anything runs.

Above: `runtime`. Below: `stages`.
"""

from ._builder import GraphBuilder, caller_of_package
from ._nesting import GraphStage, Nestable, SubGraph
from ._spec import EdgeSpec, Endpoint, ForkSpec, Graph, JoinSpec, NestSpec, Node
from ._validation import check, findings

__all__ = [
    "EdgeSpec",
    "Endpoint",
    "ForkSpec",
    "Graph",
    "GraphBuilder",
    "GraphStage",
    "JoinSpec",
    "NestSpec",
    "Nestable",
    "Node",
    "SubGraph",
    "caller_of_package",
    "check",
    "findings",
]
