"""How stages are joined: pure data, checked before anything runs.

Above: `runtime`. Below: `stages`.
"""

from ._builder import GraphBuilder, caller_of_package
from ._spec import EdgeSpec, Endpoint, ForkSpec, Graph, JoinSpec, Node
from ._validation import check, findings

__all__ = [
    "EdgeSpec",
    "Endpoint",
    "ForkSpec",
    "Graph",
    "GraphBuilder",
    "JoinSpec",
    "Node",
    "caller_of_package",
    "check",
    "findings",
]
