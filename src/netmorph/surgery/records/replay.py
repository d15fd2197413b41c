"""Repeat the morphs of a history on a parent, without solving: the structure only, weights are loaded afterwards.

A history that is read from a file may name any sizes: its modules can be built on no device first, and take memory once
the whole network has been compared with the weights that the file holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.nn import MorphedModule
from netmorph.surgery.edit.swap import swap
from netmorph.surgery.records.history import history_of, within
from netmorph.surgery.records.morphed_site import MorphedSite
from netmorph.surgery.records.record import Place, Record
from netmorph.surgery.running.call import reason
from netmorph.surgery.shortcuts.slots import open_slot


@dataclass
class Replay:
    """A network in which a history is being repeated.

    Attributes:
        model: the network; another object than the parent only where its root was morphed.
        bare: whether the history's modules are built on no device.
        homes: for each of their tensors, its future device.
    """

    model: nn.Module
    bare: bool
    homes: dict[Tensor, torch.device] = field(default_factory=dict)

    def put(self, site: Place) -> nn.Module:
        """Put a site's module in its place and return what stood there."""
        layer = site.find(self.model)
        like = _like(self.model, layer)
        home = self.homes.get(like, like.device)
        try:
            module = site.renewed(layer, like.to("meta") if self.bare else like)
        except NetmorphError as error:
            raise error.located(site.name) from error
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise NetmorphError(f"PyTorch cannot create such a module: {reason(error)}", site=site.name) from error
        for tensor in chain(module.parameters(), module.buffers()):
            if tensor.is_meta and self.bare:
                self.homes.setdefault(tensor, home)
        self.model = swap(self.model, site.name, module)
        return layer

    def settle(self) -> None:
        """Give what is on no device its memory, uninitialised: to be called once its sizes are known to be right."""

        def settled(tensor: Tensor) -> Tensor:
            home = self.homes.get(tensor)
            return tensor if home is None else torch.empty_like(tensor, device=home)

        for module in list(self.model.modules()):
            if any(t in self.homes for t in chain(module.parameters(recurse=False), module.buffers(recurse=False))):
                module._apply(settled, recurse=False)  # type: ignore[no-untyped-call]


@contextmanager
def replayed(parent: nn.Module, history: Sequence[Record], *, bare: bool = False) -> Iterator[Replay]:
    """Put the modules of a history into a network; if the block raises, the network is put back.

    Args:
        parent: the network as it was before the first record, changed in place.
        history: the records in order.
        bare: build their modules on no device; the block calls `settle`.

    Yields:
        The network, and what to settle.

    Raises:
        NetmorphError: if a layer is not the one that the history describes.
    """
    undo: list[Callable[[], object]] = []
    replay = Replay(parent, bare)
    try:
        for site in (site for record in history for site in record.sites):
            if isinstance(site, MorphedSite) and site.slot is not None:
                undo.append(open_slot(replay.model, site))
            before = replay.model
            undo.append(partial(swap, before, site.name, replay.put(site)))
        yield replay
    except BaseException:
        for each in reversed(undo):
            each()
        raise


def check_history(model: nn.Module) -> tuple[Record, ...]:
    """Return the history of a network if it accounts for every morphed module inside.

    Raises:
        NetmorphError: if the history does not account for a morphed module.
    """
    history = history_of(model)
    recorded: set[str] = set()
    for site in (site for record in history for site in record.sites):
        if site.leaves == "layer":
            recorded = {name for name in recorded if not within(name, site.name)}
        elif site.leaves == "module":
            recorded.add(site.name)
    present = {name for name, module in model.named_modules() if isinstance(module, MorphedModule)}
    odd = sorted(recorded ^ present)
    if odd:
        found = "in no record of its history" if odd[0] in present else "in its history but no longer there"
        raise NetmorphError(
            f"the network's history cannot be replayed: a morphed module is {found}",
            site=odd[0],
            remedies=["save the network that was morphed, not a part of it"],
        )
    return history


def _like(model: nn.Module, layer: nn.Module) -> Tensor:
    """Return a tensor with the dtype and device of a new module."""
    own = (tensor for tensor in chain(layer.parameters(), model.parameters()) if tensor.is_floating_point())
    return next(own, torch.empty(0))
