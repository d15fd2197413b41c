"""Where the nodes of each column stand: as near to their neighbours as their order and sizes allow."""

from __future__ import annotations

from collections.abc import Sequence

from netmorph.graph.draw.layers import Layers
from netmorph.graph.draw.straight import straighten

__all__ = ["positions"]

_SWEEPS = 40
_STRAIGHT = 8.0  # lines between bends are kept straighter than those that meet at a blob


def positions(layers: Layers, columns: Sequence[Sequence[int]], room: Sequence[float]) -> list[float]:
    """Return the position of each node's centre across the columns.

    Column after column, forth and back, each node goes to the weighted mean of its neighbours; where that would break
    the order or the distances, the least squares solution that keeps them is taken (isotonic regression). Distances
    hold whenever it ends, so it need not converge. At last runs are straightened.

    Args:
        layers: the graph in columns.
        columns: the nodes of each column in order.
        room: the size of each node, its share of the gap to its neighbours included.
    """
    at = [0.0] * len(layers.nodes)
    for column in columns:
        total = 0.0
        for node in column:
            at[node] = total + room[node] / 2
            total += room[node]
        for node in column:
            at[node] -= total / 2
    weights = {node: _weights(layers, node) for column in columns for node in column}
    for sweep in range(_SWEEPS):
        order = columns if sweep % 2 == 0 else list(reversed(columns))
        for column in order:
            wanted = []
            for node in column:
                pulls = weights[node]
                total = sum(weight for _, weight in pulls)
                wanted.append((sum(at[end] * weight for end, weight in pulls) / total, total))
            for node, value in zip(column, _apart(wanted, [room[node] for node in column]), strict=True):
                at[node] = value
    straighten(layers, columns, room, at)
    return at


def _weights(layers: Layers, node: int) -> list[tuple[int, float]]:
    return [(end, _weight(layers, node, end)) for end in (*layers.before[node], *layers.after[node])]


def _weight(layers: Layers, node: int, end: int) -> float:
    """Return how much a line wants to be straight: much where both of its ends have no other way to go."""

    def passes(one: int) -> bool:
        return len(layers.before[one]) <= 1 and len(layers.after[one]) <= 1

    return _STRAIGHT if passes(node) and passes(end) else 1.0


def _apart(wanted: Sequence[tuple[float, float]], room: Sequence[float]) -> list[float]:
    """Return positions nearest to those wanted, in order and at least half of both rooms apart.

    Args:
        wanted: position and weight of each node.
        room: size of each node.
    """
    shift, shifts = 0.0, []
    for index, size in enumerate(room):
        shift += 0.0 if index == 0 else (room[index - 1] + size) / 2
        shifts.append(shift)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, count
    for (value, weight), moved in zip(wanted, shifts, strict=True):
        block = (value - moved, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            mean, heavy, count = blocks.pop()
            total = heavy + block[1]
            block = ((mean * heavy + block[0] * block[1]) / total, total, count + block[2])
        blocks.append(block)
    flat = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + moved for mean, moved in zip(flat, shifts, strict=True)]
