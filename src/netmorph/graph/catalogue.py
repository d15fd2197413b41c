"""Modules by name: those of the paper and those that later networks are built of.

Modules that replace a convolution stand beside modules for an *identity shortcut* (the paper's `morph_1c1` and the
like: a 0.5-scaled identity beside a branch that is born as the other half, section 4.1). Where a relative width is
above 1, it is what the module needs to hold any filter exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

from netmorph.errors import GraphError
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph

__all__ = ["Catalogue", "catalogue", "ladder"]

MOST_RUNGS = 50_000


class _Entry(NamedTuple):
    notation: str
    description: str


_ENTRIES = {
    # The paper's.
    "module_d": _Entry(
        "F1=s-a:3x3, F2=s-b:3x3, F3=a-c:3x3, F4=b-c:1x1, F5=a-t:1x1, F6=c-t:1x1, F7=b-t:1x1",
        "module (D) of Figure 2 and eq. 6, which no sequence of atomic morphs reaches (Proposition 7)",
    ),
    "resnet_module": _Entry("3x3 > 3x3 | id", "the residual module of Figure 4 (a)"),
    "resnet_morph_1c1": _Entry("3x3 > 3x3 | 0.5*id | 1x1 > 1x1", "the whole module of Figure 4 (b)"),
    "resnet_morph_3c1": _Entry("3x3 > 3x3 | 0.5*id | 3x3 > 1x1", "the whole module of Figure 4 (c)"),
    "resnet_morph_3c3": _Entry("3x3 > 3x3 | 0.5*id | 3x3 > 3x3", "the whole module of Figure 4 (d)"),
    "resnet_morph_1c1_2branch": _Entry(
        "3x3 > 3x3 | 1x1 > 1x1 | 1x1 > 1x1", "the whole module of Figure 4 (e): both halves of the shortcut morphed"
    ),
    "morph_1c1": _Entry("0.5*id | 1x1 > 1x1", "what Figure 4 (b) puts in place of an identity shortcut"),
    "morph_3c1": _Entry("0.5*id | 3x3 > 1x1", "what Figure 4 (c) puts in place of an identity shortcut"),
    "morph_3c3": _Entry("0.5*id | 3x3 > 3x3", "what Figure 4 (d) puts in place of an identity shortcut"),
    "morph_1c1_2branch": _Entry(
        "1x1 > 1x1 | 1x1 > 1x1",
        "what Figure 4 (e) puts in place of an identity shortcut: two branches of one half each",
    ),
    # Series.
    "bottleneck": _Entry(
        "1x1:0.25x > 3x3:0.25x > 1x1", "ResNet-50's: a quarter of the channels; too narrow for any filter but low ranks"
    ),
    "bottleneck_beside": _Entry("3x3 | 1x1:0.25x > 3x3:0.25x > 1x1", "a bottleneck beside a 3x3 that holds the filter"),
    "inverted_residual": _Entry(
        "1x1:6x > 3x3*dw:6x > 1x1", "MobileNetV2's: six times the channels; too narrow for any filter but low ranks"
    ),
    "inverted_residual_wide": _Entry(
        "1x1 > 3x3*dw:9x > 1x1",
        "an inverted residual whose depthwise 3x3 makes nine maps of each, enough for any filter",
    ),
    "depthwise_separable": _Entry(
        "3x3*dw:9x > 1x1",
        "depthwise, then pointwise; a 3x3 filter has nine taps, so nine maps of each channel hold any",
    ),
    "asymmetric": _Entry("1x3:3x > 3x1", "a row, then a column; three times the channels hold any 3x3 filter"),
    "mlp": _Entry("1:4x > 1", "a transformer's feed-forward shape; fits linear and 1x1 sites"),
    # Parallel.
    "inception": _Entry(
        "1x1 | 1x1:0.75x > 3x3 | 1x1:0.25x > 5x5 | avg3x3 > 1x1",
        "Inception's four branches, summed; the reduced widths add up to the site's",
    ),
    "repvgg": _Entry("3x3 | 1x1 | id", "RepVGG's three branches (as many channels in as out)"),
    "acnet": _Entry("3x3 | 1x3 | 3x1", "ACNet's cross: a square kernel, a row and a column"),
    "dbb": _Entry("3x3 | 1x1 | 1x1 > 3x3 | 1x1 > avg3x3", "the diverse branch block"),
    "aspp": _Entry(
        "(1x1 | 3x3 | 3x3~2 | 3x3~4) > 1x1", "atrous spatial pyramid: parallel dilations, summed and projected"
    ),
    "lora": _Entry("3x3 | 1x1:0.0625x > 1x1", "a pointwise low-rank branch beside the convolution"),
    # Complex.
    "dense": _Entry(
        "s-a:3x3, s-b:3x3, a-b:3x3, s-t:3x3, a-t:1x1, b-t:1x1 {a: 0.5x, b: 0.5x}",
        "DenseNet's: every blob reads all before it, the last convolution of a concatenation written as a sum",
    ),
}


class Catalogue(Mapping[str, ModuleGraph]):
    """A read-only mapping from names to module graphs.

    Raises:
        GraphError: if the name is not in the catalogue; the message suggests the nearest ones.

    Example:
        >>> str(catalogue["morph_1c1"])
        '0.5*id | 1x1 > 1x1'
    """

    def __getitem__(self, name: str) -> ModuleGraph:
        if name == "ladder":
            return ladder(3)
        return _graph(self._entry(name).notation)

    def __iter__(self) -> Iterator[str]:
        return iter((*_ENTRIES, "ladder"))

    def __len__(self) -> int:
        return len(_ENTRIES) + 1

    def __contains__(self, name: object) -> bool:
        return name == "ladder" or name in _ENTRIES

    def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
        """Return the graph of that name, or `default`."""
        try:
            return self[name]
        except GraphError:
            return default

    def describe(self, name: str) -> str:
        """Return one line on the module.

        Raises:
            GraphError: if there is no module of that name.
        """
        if name == "ladder":
            return "two rails with crossed rungs, 8 paths; `ladder(n)` has 2^n"
        return self._entry(name).description

    def _entry(self, name: str) -> _Entry:
        if name in _ENTRIES:
            return _ENTRIES[name]
        near = get_close_matches(str(name), list(self), n=3, cutoff=0.4)
        raise GraphError(
            f"unknown module {name!r}",
            remedies=[f"did you mean {' or '.join(map(repr, near))}?" if near else f"choose one of {', '.join(self)}"],
        )


catalogue = Catalogue()


def ladder(rungs: int) -> ModuleGraph:
    """Return two rails of `rungs` blobs each, every one joined to both of the next pair: 2^rungs paths.

    The edges that leave the source are 3x3, all others 1x1. Complex from two rungs on.

    Args:
        rungs: pairs of blobs, from 1.

    Raises:
        GraphError: if `rungs` is out of range.
    """
    if not 1 <= rungs <= MOST_RUNGS:
        raise GraphError(f"a ladder must have 1 to {MOST_RUNGS} rungs, got {rungs}")
    edges: list[tuple[str, str, int]] = [("s", "l1", 3), ("s", "r1", 3)]
    for level in range(1, rungs):
        edges += [(f"{here}{level}", f"{there}{level + 1}", 1) for here in "lr" for there in "lr"]
    edges += [(f"l{rungs}", "t", 1), (f"r{rungs}", "t", 1)]
    return ModuleGraph.from_edges(edges)


@cache
def _graph(notation: str) -> ModuleGraph:
    return parse(notation)
