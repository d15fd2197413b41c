"""Runs of nodes that only pass a line on are put on one height, as far as their neighbours leave room."""

from __future__ import annotations

from collections.abc import Sequence

from netmorph.graph.draw.layers import Layers

__all__ = ["straighten"]

_ROUNDS = 3

Interval = tuple[float, float]


def straighten(layers: Layers, columns: Sequence[Sequence[int]], room: Sequence[float], at: list[float]) -> None:
    """Move nodes so that lines lose their small waves; order and distances stay kept.

    Args:
        layers: the graph in columns.
        columns: the nodes of each column in order.
        room: the size of each node, gaps included.
        at: position of each node; changed in place.
    """
    place = {node: (number, index) for number, column in enumerate(columns) for index, node in enumerate(column)}

    def free(node: int) -> Interval:
        number, index = place[node]
        column = columns[number]
        low, high = float("-inf"), float("inf")
        if index:
            above = column[index - 1]
            low = at[above] + (room[above] + room[node]) / 2
        if index + 1 < len(column):
            below = column[index + 1]
            high = at[below] - (room[below] + room[node]) / 2
        return low, high

    runs = _runs(layers)
    for _ in range(_ROUNDS):
        for run in runs:
            for part, (low, high) in _parts(run, [free(node) for node in run]):
                mean = sum(at[node] for node in part) / len(part)
                for node in part:
                    at[node] = min(max(mean, low), high)


def _runs(layers: Layers) -> list[list[int]]:
    """Return the longest rows of nodes each joined to the next alone, longest first."""
    runs, seen = [], set[int]()
    for start in range(len(layers.nodes)):
        if start in seen or _next(layers, start, forth=False) is not None:
            continue
        run = [start]
        while (after := _next(layers, run[-1], forth=True)) is not None:
            run.append(after)
        seen.update(run)
        if len(run) > 1:
            runs.append(run)
    return sorted(runs, key=len, reverse=True)


def _next(layers: Layers, node: int, *, forth: bool) -> int | None:
    there, back = (layers.after, layers.before) if forth else (layers.before, layers.after)
    ends = there[node]
    return ends[0] if len(ends) == 1 and len(back[ends[0]]) == 1 else None


def _parts(run: Sequence[int], intervals: Sequence[Interval]) -> list[tuple[list[int], Interval]]:
    """Cut a run into as few parts as can each lie on one height, with the heights that are free for all of a part."""
    parts: list[tuple[list[int], Interval]] = []
    for node, (low, high) in zip(run, intervals, strict=True):
        if parts:
            part, (least, most) = parts[-1]
            if max(least, low) <= min(most, high):
                parts[-1] = ([*part, node], (max(least, low), min(most, high)))
                continue
        parts.append(([node], (low, high)))
    return parts
