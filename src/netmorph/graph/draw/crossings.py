"""The order of the nodes within each column: few crossings, by medians and exchanges (Gansner et al. 1993)."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from itertools import pairwise
from random import Random

from netmorph.graph.draw.layers import Layers

__all__ = ["crossings", "ordered"]

_SWEEPS = 12
_STARTS = 6
_SMALL = 400  # nodes up to which several starts are affordable

Columns = list[list[int]]


def ordered(layers: Layers) -> Columns:
    """Return the columns' nodes in an order with few crossings; the order of the graph's edges breaks ties.

    Beside that order a few drawn ones are tried, the same in every run.
    """
    generator = Random(0)
    best: Columns | None = None
    fewest = 0
    for start in range(_STARTS if len(layers.nodes) <= _SMALL else 1):
        columns = [list(column) for column in layers.columns]
        if start:
            for column in columns:
                generator.shuffle(column)
        columns, count = _improved(layers, columns)
        if best is None or count < fewest:
            best, fewest = columns, count
        if not fewest:
            break
    assert best is not None
    return best


def crossings(layers: Layers, columns: Sequence[Sequence[int]]) -> int:
    """Count the pairs of lines between neighbouring columns that cross."""
    return sum(_between(layers, left, right) for left, right in pairwise(columns))


def _between(layers: Layers, left: Sequence[int], right: Sequence[int]) -> int:
    place = {node: index for index, node in enumerate(right)}
    seen: list[int] = []
    count = 0
    for node in left:
        ends = sorted(place[end] for end in layers.after[node])
        count += sum(len(seen) - bisect_right(seen, end) for end in ends)
        for end in ends:
            insort(seen, end)
    return count


def _improved(layers: Layers, columns: Columns) -> tuple[Columns, int]:
    best, fewest = [list(column) for column in columns], crossings(layers, columns)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        forth = sweep % 2 == 0
        order = range(1, len(columns)) if forth else range(len(columns) - 2, -1, -1)
        for index in order:
            fixed = columns[index - 1 if forth else index + 1]
            _by_median(columns[index], fixed, layers.before if forth else layers.after)
        _exchange(layers, columns)
        count = crossings(layers, columns)
        if count < fewest:
            best, fewest = [list(column) for column in columns], count
    return best, fewest


def _by_median(column: list[int], fixed: Sequence[int], joined: Sequence[Sequence[int]]) -> None:
    place = {node: index for index, node in enumerate(fixed)}
    here = {node: index for index, node in enumerate(column)}

    def key(node: int) -> float:
        ends = sorted(place[end] for end in joined[node])
        if not ends:
            return float(here[node])
        half = len(ends) // 2
        return float(ends[half]) if len(ends) % 2 else (ends[half - 1] + ends[half]) / 2

    column.sort(key=key)


def _exchange(layers: Layers, columns: Columns) -> None:
    """Exchange neighbours wherever that saves crossings."""
    places = [{node: index for index, node in enumerate(column)} for column in columns]
    for number, column in enumerate(columns):
        moved = True
        while moved:
            moved = False
            for index in range(len(column) - 1):
                one, other = column[index], column[index + 1]
                if _cost(layers, places, number, one, other) > _cost(layers, places, number, other, one):
                    column[index], column[index + 1] = other, one
                    places[number] |= {other: index, one: index + 1}
                    moved = True


def _cost(layers: Layers, places: Sequence[dict[int, int]], number: int, upper: int, lower: int) -> int:
    count = 0
    for joined, side in ((layers.before, number - 1), (layers.after, number + 1)):
        if 0 <= side < len(places):
            place = places[side]
            count += sum(place[a] > place[b] for a in joined[upper] for b in joined[lower])
    return count
