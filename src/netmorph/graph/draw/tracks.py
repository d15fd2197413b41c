"""Lines between two columns of a drawing made of characters: each bundle has a vertical track of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

__all__ = ["DOWN", "LEFT", "RIGHT", "UP", "bundle_cells", "tracks"]

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8

Lines = Sequence[tuple[int, int]]
Cells = dict[tuple[int, int], int]


def tracks(bundles: Mapping[int, Lines]) -> dict[int, int] | None:
    """Return a track for each bundle of lines; None where there is none without lines on top of each other.

    A line runs along the row where it starts to its bundle's track, on that to the row where it ends, and along that.
    Bundles on one track must not overlap; a bundle that starts in the row where another ends must turn before it.

    Args:
        bundles: (row of the start, row of the end) of each line.
    """
    spans = {key: (min(map(min, lines)), max(map(max, lines))) for key, lines in bundles.items()}
    starts = {start: key for key, lines in bundles.items() for start, _ in lines}
    earlier: dict[int, set[int]] = {key: set() for key in sorted(bundles, key=spans.__getitem__)}
    for key, lines in bundles.items():
        earlier[key] |= {starts[end] for _, end in lines if starts.get(end, key) != key}
    try:
        order = list(TopologicalSorter(earlier).static_order())
    except CycleError:
        return None
    found: dict[int, int] = {}
    for key in order:
        number = 1 + max((found[other] for other in earlier[key]), default=-1)
        low, high = spans[key]
        while any(found[o] == number and spans[o][0] <= high and low <= spans[o][1] for o in found):
            number += 1
        found[key] = number
    return found


def bundle_cells(lines: Lines, left: int, track: int, right: int) -> Cells:
    """Return the cells that a bundle passes, as (row, column), with the sides by which it leaves each.

    Args:
        lines: (row of the start, row of the end) of each.
        left: first column.
        track: column of the vertical part.
        right: the column behind the last.
    """
    drawn: Cells = {}

    def add(cell: tuple[int, int], bits: int) -> None:
        drawn[cell] = drawn.get(cell, 0) | bits

    for start, end in lines:
        for column in range(left, track):
            add((start, column), LEFT | RIGHT)
        for column in range(track + 1, right):
            add((end, column), LEFT | RIGHT)
        add((start, track), LEFT | (RIGHT if start == end else DOWN if end > start else UP))
        add((end, track), RIGHT | (LEFT if start == end else UP if end > start else DOWN))
        for row in range(min(start, end) + 1, max(start, end)):
            add((row, track), UP | DOWN)
    return drawn
