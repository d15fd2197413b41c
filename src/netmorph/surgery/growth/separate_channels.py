"""Whether what stands behind a layer keeps its channels apart: tried on copied channels (beyond the paper).

A function may stand behind a layer that becomes wider if it gives for copied channels copies of what it gives. At one
size of numbers a coupling of channels can be smaller than rounding (local response normalisation is, on small ones).
So a function is tried in float64 where it runs in it, on the example's own numbers, on such of other sizes, and on such
of which a few channels are far above the others; and each channel is held to its own size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netmorph.surgery.growth.channel_positions import Lanes
from netmorph.surgery.parity.site import tolerance_of

_SIZES = (1e-4, 1e-3, 1e-2, 1.0, 1e1, 1e2, 1e3, 1e4)  # relative to the example's numbers
_RANGE = 3.0  # powers of ten that an uneven channel lies above or below the others

Function = Callable[..., Any]


def lanes_after(
    narrow: Function,
    wide: Function,
    inputs: Sequence[Tensor],
    lanes: Sequence[Lanes],
    index: Tensor,
    new: Tensor | None = None,
) -> Lanes | str | None:
    """Return where the channels are after a function, or why it does not keep them apart.

    Args:
        narrow: the function, of as many tensors as there are inputs.
        wide: the same of inputs with copied channels, whose result must be copies of what `narrow` returns.
        inputs: what it reads in the example, in the dtype in which it is to be tried; they are left as they are.
        lanes: where the channels are in each of them.
        index: for each channel of the wider layer, the one that it copies.
        new: which channels of the wider layer are no copies but hold anything: what is made of the others must not
            depend on them.

    Returns:
        The lanes of its result, or the reason in words; None where it does not run on these inputs at all.
    """
    if not all(x.layout == torch.strided and not x.is_nested and not x.is_quantized and x.numel() for x in inputs):
        return "reads no plain tensor of at least one number, and cannot be tried on others"
    shape: torch.Size | None = None
    found: list[Lanes] = []
    tried = 0
    random = torch.Generator().manual_seed(1)
    for drawn in _trials(inputs, lanes):
        copied = [_widened(x, each, index, new, random) for each, x in zip(lanes, drawn, strict=True)]
        try:
            y = narrow(*drawn)
        except Exception:
            if shape is None:
                return None
            continue  # it is not defined for numbers like these
        try:
            wider = wide(*copied)
        except Exception:
            return f"depends on there being {lanes[0].channels} channels"
        if shape is None and isinstance(y, Tensor):
            shape, found = y.shape, _candidates(y.shape, lanes[0])
        found = [each for each in found if _are_copies(y, wider, each, index, shape, new)]
        if not found:
            return "mixes channels"
        tried += 1
    return found[0] if tried > 1 else "cannot be tried on other numbers than the example's"


def _candidates(shape: torch.Size, lanes: Lanes) -> list[Lanes]:
    """Return the ways in which a tensor of a shape can hold channels, the present one first."""
    found = []
    for axis in sorted(range(len(shape)), key=lambda axis: axis != lanes.axis):
        repeats, rest = divmod(shape[axis], lanes.channels)
        if rest or not repeats:
            continue
        inner = [n for n in range(repeats, 0, -1) if repeats % n == 0]
        found += [Lanes(len(shape), axis, lanes.channels, repeats // n, n) for n in inner]
    return found


def _widened(x: Tensor, lanes: Lanes, index: Tensor, new: Tensor | None, random: torch.Generator) -> Tensor:
    """Return what a wider layer may give: copies of a tensor's channels, and anything in the new ones."""
    wide = lanes.copied(x, index)
    if new is None:
        return wide
    here = lanes.spread_over(new).to(x.device)
    other = wide.index_select(lanes.axis, torch.arange(len(here), device=x.device)[here])
    drawn = _shuffled(other, random)
    if x.is_floating_point() or x.is_complex():
        drawn = (drawn * 10.0 ** (2 * _uniform(other.shape, random) - 1).to(x.device)).to(x)
    return wide.index_copy(lanes.axis, torch.arange(len(here), device=x.device)[here], drawn)


def _are_copies(y: Any, wider: Any, lanes: Lanes, index: Tensor, shape: torch.Size | None, new: Tensor | None) -> bool:
    """Return whether a result is what copied channels must give, at every position along the channels by its size."""
    if not (isinstance(y, Tensor) and isinstance(wider, Tensor) and y.shape == shape and y.dim() == wider.dim()):
        return False
    expected = lanes.copied(y, index)
    if expected.shape != wider.shape or expected.dtype != wider.dtype:
        return False
    if new is not None:
        present = torch.arange(expected.shape[lanes.axis], device=y.device)[~lanes.spread_over(new).to(y.device)]
        expected, wider = (each.index_select(lanes.axis, present) for each in (expected, wider))
    if not (expected.is_floating_point() or expected.is_complex()):
        return torch.equal(expected, wider)
    same = (expected == wider) | (expected.isnan() & wider.isnan())
    gaps = (expected - wider).abs().masked_fill(same, 0.0)
    sizes = expected.abs().nan_to_num(0.0, 0.0, 0.0).movedim(lanes.axis, 0).flatten(1).amax(1)
    return bool((gaps.movedim(lanes.axis, 0).flatten(1).amax(1) <= 10 * tolerance_of(gaps.dtype) * sizes).all())


def _trials(inputs: Sequence[Tensor], lanes: Sequence[Lanes]) -> Iterator[list[Tensor]]:
    """Yield inputs to try: those of the example first, then others of their shapes and dtypes.

    Whole numbers and truth values are those of the example in another order: what else they may be is not known.
    """
    random = torch.Generator().manual_seed(0)
    yield [x.clone() for x in inputs]
    yield [_shuffled(x, random) for x in inputs]
    for draw in _draws():
        yield [
            (_typical(x) * draw(x.shape, each, random)).to(x)
            if x.is_floating_point() or x.is_complex()
            else _shuffled(x, random)
            for x, each in zip(inputs, lanes, strict=True)
        ]


Draw = Callable[[torch.Size, Lanes, torch.Generator], Tensor]


def _draws() -> Iterator[Draw]:
    """Yield what draws numbers of a shape, relative to the example's."""
    for size in _SIZES:
        yield partial(_sized, size)
    for _ in range(3):
        yield _of_uneven_channels
    yield _of_uneven_places
    yield _of_zeros


def _sized(size: float, shape: torch.Size, lanes: Lanes, random: torch.Generator) -> Tensor:
    return size * _normal(shape, random)


def _of_uneven_channels(shape: torch.Size, lanes: Lanes, random: torch.Generator) -> Tensor:
    """Draw numbers of which a few channels are far above the others."""
    return _uneven(lanes.along(shape), random) * _normal(shape, random)


def _of_uneven_places(shape: torch.Size, lanes: Lanes, random: torch.Generator) -> Tensor:
    """Draw positive numbers of which at each place another channel is far above the others."""
    return _uneven(shape, random) * _normal(shape, random).abs()


def _of_zeros(shape: torch.Size, lanes: Lanes, random: torch.Generator) -> Tensor:
    """Draw zeros, and large numbers among them."""
    return 1e2 * _normal(shape, random) * (_uniform(shape, random) < 0.2)


def _uneven(shape: Sequence[int], random: torch.Generator) -> Tensor:
    return 10.0 ** ((2 * _uniform(shape, random) - 1) * _RANGE)


def _normal(shape: Sequence[int], random: torch.Generator) -> Tensor:
    return torch.randn(tuple(shape), generator=random, dtype=torch.float64, device="cpu")


def _uniform(shape: Sequence[int], random: torch.Generator) -> Tensor:
    return torch.rand(tuple(shape), generator=random, dtype=torch.float64, device="cpu")


def _shuffled(x: Tensor, random: torch.Generator) -> Tensor:
    order = torch.randperm(x.numel(), generator=random, device="cpu")
    return x.flatten()[order.to(x.device)].view(x.shape)


def _typical(x: Tensor) -> float:
    """Return the root mean square of the finite numbers in a tensor; 1 where there are none but zeros."""
    sizes = x.detach().abs().double()
    sizes = sizes[sizes.isfinite()]
    return float(sizes.square().mean().sqrt()) or 1.0 if sizes.numel() else 1.0
