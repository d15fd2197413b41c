"""Sites of one geometry share their noise and its factorisation: else half of a day would go into drawing noise."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from netmorph.graph.layout import Layout
from netmorph.solver import plan, pointwise
from netmorph.solver.system import split_crossing

KEPT = 4


@contextmanager
def shared_noise() -> Iterator[None]:
    """Remember the last few draws within a block; every target is still solved for, checked and measured on its own."""
    original = pointwise.draw_system
    kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def draw_system(layout: Layout, seed: int, *, aside_scale: float = 1.0) -> Any:
        scale = aside_scale if split_crossing(layout)[1] else 1.0
        key = (layout.graph, layout.site, layout.cuts, layout.cut, seed, scale)
        if key not in kept:
            kept[key] = original(layout, seed, aside_scale=aside_scale)
            if len(kept) > KEPT:
                kept.popitem(last=False)
        kept.move_to_end(key)
        system, factors, draws = kept[key]
        return replace(system, drawn=dict(system.drawn)), factors, draws

    try:
        pointwise.draw_system = plan.draw_system = draw_system
        yield
    finally:
        pointwise.draw_system = plan.draw_system = original
