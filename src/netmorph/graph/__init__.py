"""Module graphs: structure, notation and verdicts, no weights.

The verbs `reduce`, `flow` and `catalogue` are imported from the modules of the same names, which they would hide here.
"""

from netmorph.graph.codec import from_json, graph_from_dict, graph_to_dict, to_json
from netmorph.graph.notation import has_notation, parse, to_notation
from netmorph.graph.paths import equation, path_count
from netmorph.graph.spec import Edge, Fixed, ModuleGraph, Width

__all__ = [
    "Edge",
    "Fixed",
    "ModuleGraph",
    "Width",
    "equation",
    "from_json",
    "graph_from_dict",
    "graph_to_dict",
    "has_notation",
    "parse",
    "path_count",
    "to_json",
    "to_notation",
]
