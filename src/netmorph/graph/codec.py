"""Graphs as JSON: the form that everything of a graph round-trips through.

Strict, because it reads files: unknown keys, wrong types and absurd sizes are errors that name their place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from netmorph.errors import GraphError
from netmorph.graph.spec import Edge, Fixed, ModuleGraph, Width

__all__ = ["from_json", "graph_from_dict", "graph_to_dict", "to_json"]

LONGEST = 64_000_000  # characters of JSON
MOST_EDGES = 1_000_000
_GRAPH_KEYS = {"edges", "widths", "activations", "source", "sink"}
_SIDES = ("kernel", "stride", "dilation")
_EDGE_KEYS = {"name", "source", "sink", "groups", "norm", "fixed", *_SIDES}


def graph_to_dict(graph: ModuleGraph) -> dict[str, Any]:
    """Return a JSON-ready dictionary; `graph_from_dict` is its inverse. Attributes at their defaults are left out."""
    out: dict[str, Any] = {"edges": [_edge_to_dict(edge) for edge in graph.edges]}
    if graph.width_items:
        out["widths"] = {blob: str(width) for blob, width in graph.width_items}
    if graph.activation_items:
        out["activations"] = dict(graph.activation_items)
    if (graph.source, graph.sink) != ("s", "t"):
        out |= {"source": graph.source, "sink": graph.sink}
    return out


def graph_from_dict(data: Any) -> ModuleGraph:
    """Rebuild a graph from `graph_to_dict`'s output.

    Raises:
        GraphError: if keys, types or values are not those of a module graph; the message names the place.
    """
    table = _table(data, "a graph", _GRAPH_KEYS, {"edges"})
    edges = table["edges"]
    if not isinstance(edges, list) or len(edges) > MOST_EDGES:
        raise GraphError(f"the edges of a graph must be a list of at most {MOST_EDGES}")
    widths = _strings(table.get("widths", {}), "widths")
    return ModuleGraph(
        tuple(_edge_from_dict(edge, index) for index, edge in enumerate(edges)),
        tuple((blob, Width.of(width)) for blob, width in widths.items()),
        tuple(_strings(table.get("activations", {}), "activations").items()),
        _string(table.get("source", "s"), "a graph's source"),
        _string(table.get("sink", "t"), "a graph's sink"),
    )


def to_json(graph: ModuleGraph, *, indent: int | None = None) -> str:
    """Return the graph as JSON text; `from_json` is its inverse."""
    return json.dumps(graph_to_dict(graph), indent=indent)


def from_json(text: str) -> ModuleGraph:
    """Rebuild a graph from JSON text.

    Raises:
        GraphError: if the text is not JSON, or not that of a module graph.
    """
    if len(text) > LONGEST:
        raise GraphError(f"this JSON has {len(text)} characters; at most {LONGEST} are allowed")
    try:
        data = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise GraphError(f"invalid JSON of a graph: {error}") from error
    return graph_from_dict(data)


def _edge_to_dict(edge: Edge) -> dict[str, Any]:
    out: dict[str, Any] = {"name": edge.name, "source": edge.source, "sink": edge.sink, "kernel": list(edge.kernel)}
    for name in ("stride", "dilation"):
        if getattr(edge, name) is not None:
            out[name] = list(getattr(edge, name))
    if edge.groups != 1:
        out["groups"] = edge.groups
    if edge.norm is not None:
        out["norm"] = edge.norm
    if edge.fixed is not None:
        out["fixed"] = {"kind": edge.fixed.kind, "scale": edge.fixed.scale}
    return out


def _edge_from_dict(data: Any, index: int) -> Edge:
    where = f"edge {index}"
    table = dict(_table(data, where, _EDGE_KEYS, {"name", "source", "sink", "kernel"}))
    for name in ("name", "source", "sink"):
        _string(table[name], f"{where}: {name}")
    if table.get("norm") is not None:
        _string(table["norm"], f"{where}: norm")
    for name in _SIDES:
        if table.get(name) is None and name != "kernel":
            continue
        if not isinstance(table[name], list) or len(table[name]) > 3:
            raise GraphError(f"{where}: {name} must be a list of one to three integers, got {_short(table[name])}")
        table[name] = tuple(table[name])
    groups = table.get("groups", 1)
    if groups != "dw" and (isinstance(groups, bool) or not isinstance(groups, int)):
        raise GraphError(f"{where}: groups must be an integer or 'dw', got {_short(groups)}")
    if table.get("fixed") is not None:
        table["fixed"] = _fixed(table["fixed"], f"{where}: fixed")
    return Edge(**table)


def _fixed(data: Any, where: str) -> Fixed:
    table = _table(data, where, {"kind", "scale"}, {"kind", "scale"})
    scale = table["scale"]
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise GraphError(f"{where}: scale must be a number, got {_short(scale)}")
    return Fixed(_string(table["kind"], f"{where}: kind"), scale)  # type: ignore[arg-type]  # Fixed checks the kind


def _table(data: Any, where: str, allowed: set[str], needed: set[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise GraphError(f"{where} must be described by a dictionary, got {_short(data)}")
    unknown = [key for key in data if key not in allowed]
    missing = sorted(needed - set(data))
    if unknown or missing:
        problem = f"unknown key {_short(unknown[0])}" if unknown else f"no {missing[0]!r}"
        raise GraphError(f"{where} has {problem}", remedies=[f"the keys are {', '.join(sorted(allowed))}"])
    return data


def _strings(data: Any, what: str) -> Mapping[str, str]:
    if not isinstance(data, Mapping) or not all(isinstance(x, str) for item in data.items() for x in item):
        raise GraphError(f"{what} must be a dictionary from blobs to strings, got {_short(data)}")
    return data


def _string(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise GraphError(f"{what} must be a string, got {_short(value)}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a key that is given twice."""
    out = dict(pairs)
    if len(out) < len(pairs):
        raise ValueError("a key is given twice")
    return out


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
