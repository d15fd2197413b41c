"""Repeat the morphs of a history on a parent, without solving: the structure only, weights are loaded afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.nn import MorphedModule
from netmorph.surgery.collapse_record import CollapsedPlace, within
from netmorph.surgery.foreign import layer_spec, origin_of, pads_same
from netmorph.surgery.growth_record import ChangedChannels, ChangedLayer, GrownPlace
from netmorph.surgery.history import MorphedSite, Record, history_of
from netmorph.surgery.layers import kind_of
from netmorph.surgery.slots import open_slot
from netmorph.surgery.swap import inherit, swap


@contextmanager
def replayed(parent: nn.Module, history: Sequence[Record]) -> Iterator[nn.Module]:
    """Put the modules of a history into a network; if the block raises, the network is put back.

    Args:
        parent: the network as it was before the first record, changed in place.
        history: the records in order.

    Yields:
        The network; another object only where its root was morphed.

    Raises:
        NetmorphError: a layer is not what the history says that it was.
    """
    undo: list[Callable[[], object]] = []
    model = parent
    try:
        for site in (site for record in history for site in record.sites):
            if isinstance(site, MorphedSite) and site.slot is not None:
                undo.append(open_slot(model, site))
            layer = _layer(model, site) if isinstance(site, MorphedSite) else site.find(model)
            module = _successor(site, layer, _like(model, layer))
            undo.append(partial(swap, model, site.name, layer))
            model = swap(model, site.name, module)
        yield model
    except BaseException:
        for each in reversed(undo):
            each()
        raise


def check_history(model: nn.Module) -> tuple[Record, ...]:
    """Return the history of a network if it accounts for every morphed module inside.

    Raises:
        NetmorphError: it does not.
    """
    history = history_of(model)
    recorded: set[str] = set()
    for site in (site for record in history for site in record.sites):
        if isinstance(site, ChangedLayer | ChangedChannels):
            continue
        if isinstance(site, CollapsedPlace):
            recorded = {name for name in recorded if not within(name, site.name)}
        else:
            recorded.add(site.name)
    present = {name for name, module in model.named_modules() if isinstance(module, MorphedModule)}
    odd = sorted(recorded ^ present)
    if odd:
        found = "in no record of its history" if odd[0] in present else "in its history but no longer there"
        raise NetmorphError(
            f"the network's history cannot be replayed: a morphed module is {found}",
            site=odd[0],
            remedies=["save the very network that was morphed, not a part of it"],
        )
    return history


def _successor(site: MorphedSite | CollapsedPlace | GrownPlace, layer: nn.Module, like: torch.Tensor) -> nn.Module:
    """Return what takes a layer's place."""
    if not isinstance(site, MorphedSite | CollapsedPlace):
        return site.renewed(layer, like)
    module = site.build(device=like.device, dtype=like.dtype)
    inherit(layer, module)
    return module


def _layer(model: nn.Module, site: MorphedSite) -> nn.Module:
    """Return the layer that a record replaces, if it is the one recorded."""
    try:
        layer = model.get_submodule(site.name)
    except AttributeError as error:
        raise NetmorphError(f"the parent has no such layer: {error}", site=site.name) from error
    same = kind_of(layer) == site.kind
    if same and site.kind != "identity":
        like = (layer_spec(layer), layer._parameters.get("bias") is not None, origin_of(layer), pads_same(layer))
        same = like == (site.layout.site, site.bias, site.origin, site.same_padding)
    if not same:
        raise NetmorphError(
            "the parent's layer is not the one that was morphed",
            site=site.name,
            shapes=f"expected {site.kind} {site.layout.site}{' with bias' if site.bias else ''}, found {layer}",
            remedies=["load into the parent that the child was made of, not yet morphed"],
        )
    return layer


def _like(model: nn.Module, layer: nn.Module) -> torch.Tensor:
    """Return a tensor whose dtype and device a new module shall have."""
    own = (tensor for tensor in (*layer.parameters(), *model.parameters()) if tensor.is_floating_point())
    return next(own, torch.empty(0))
