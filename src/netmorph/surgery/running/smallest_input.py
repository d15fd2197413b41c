"""The least input that a padding by reflection or wrapping takes: PyTorch cannot show more than there is."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from netmorph.errors import SiteError
from netmorph.filters.geometry import ConvSpec
from netmorph.nn import MorphedModule
from netmorph.solver.target import CONVOLUTIONS, spec_of
from netmorph.surgery.running.probe import Seen

_BEYOND = {"reflect": 1, "circular": 0}  # positions that an input needs beyond its padding


def least_sizes(module: nn.Module) -> tuple[int, ...]:
    """Return the least size of a module's input that its padding takes, for each spatial dimension."""
    pads = [
        [max(pair) + _BEYOND[spec.padding_mode] for pair in spec.padding]
        for spec in _specs(module)
        if spec.padding_mode in _BEYOND
    ]
    return tuple(max(1, *along) for along in zip(*pads, strict=True))


def grown_reach(name: str, before: nn.Module, after: nn.Module, seen: Seen) -> tuple[str, ...]:
    """Return what to say where a module needs larger inputs than the one in whose place it comes: a sentence, or none.

    Args:
        name: of the place.
        before: the present module.
        after: the one to come.
        seen: what the example brings the present one.

    Raises:
        SiteError: if its input in the example run is smaller than that.
    """
    needs = least_sizes(after)
    had = least_sizes(before) or (1,) * len(needs)
    if not any(new > old for new, old in zip(needs, had, strict=True)):
        return ()
    mode = next(spec.padding_mode for spec in _specs(after) if spec.padding_mode in _BEYOND)
    least, less = ("x".join(map(str, sizes)) for sizes in (needs, had))
    for shape in sorted(seen.shapes):
        if any(size < new for size, new in zip(shape[-len(needs) :], needs, strict=True)):
            raise SiteError(
                f"the larger kernel cannot run on an input of the example: with padding mode {mode!r} it needs at "
                f"least {least} positions",
                site=name,
                shapes=f"input {shape}, {less} needed now",
                remedies=["choose smaller kernels", "pass an example without inputs as small, if there are none"],
            )
    return (f"{name!r} has padding mode {mode!r} and needs inputs of at least {least} now, where it needed {less}",)


def _specs(module: nn.Module) -> Iterator[ConvSpec]:
    for each in module.modules():
        if isinstance(each, MorphedModule):
            yield from each.layout.specs.values()
        elif isinstance(each, CONVOLUTIONS) and each.padding_mode in _BEYOND:
            yield spec_of(each)
