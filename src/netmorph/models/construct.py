"""The architecture of a morphed network without a parent's weights: the control "from scratch" of Tables 2 and 4."""

from __future__ import annotations

from functools import cache

from torch import nn

from netmorph.graph.layout import Layout
from netmorph.graph.notation import parse
from netmorph.models.paper_net import PaperNet
from netmorph.models.scratch import reborn
from netmorph.solver.plan import choose
from netmorph.surgery.edit.swap import inherit, swap
from netmorph.surgery.records.history import remember
from netmorph.surgery.records.morphed_site import MorphedSite
from netmorph.surgery.records.record import Record
from netmorph.surgery.sites.layers import identity_spec

__all__ = ["construct"]


def construct(parent: nn.Module, net: PaperNet, *, seed: int = 0, shortcut_scale: float = 0.5) -> nn.Module:
    """Give a network the architecture of one that was morphed from it, and fresh weights.

    Nothing is solved for. What it is called and how it grows further is the same as after `grow`, and so is its
    history: `save` writes it as the parent with morphed shortcuts.

    Args:
        parent: the network that ``net.parent`` names, changed.
        net: the architecture.
        seed: random seed of the weights, drawn as `reborn` does: activations begin as ReLUs.
        shortcut_scale: 0.5 or 1.0, as `PaperNet.graph` takes it.

    Returns:
        The network.

    Raises:
        NetmorphError: if the networks have different shortcut scales.
    """
    sites = []
    for place in net.places:
        block = parent.get_submodule(place.name.rpartition(".")[0])
        channels = block.get_parameter("bn2.weight").shape[0]
        layout = _layout(net.graph(place.branches, shortcut_scale), channels)
        site = MorphedSite(place.name, "identity", layout, False, "relu", "calibrated", seed, "FRESH", 0.0)
        module = site.build(device=None, dtype=None)
        inherit(parent.get_submodule(place.name), module)
        swap(parent, place.name, module)
        sites.append(site)
    remember(parent, Record("morph", tuple(sites), {"net": net.name, "shortcut_scale": shortcut_scale, "seed": seed}))
    return reborn(parent, seed)


@cache
def _layout(graph: str, channels: int) -> Layout:
    """Return how a graph runs in the place of a shortcut; what `morph` would choose."""
    return choose(parse(graph), identity_spec(channels, 2), seed=0).layout
