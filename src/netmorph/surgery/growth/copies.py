"""Wider by copies: which channels are copied, and how what reads them shares its weights out (Net2Net, Chen 2016).

A copy computes what its original computes, under any activation and norm, in train mode too. What reads both reads the
sum: shares of the original's weights that add up to them, unequal and with noise that cancels. So all gradients, those
of the new channels too, are non-zero from the first step, and differ between a channel and its copy. (New channels at
random with zeros behind them would be exact too, but would receive no gradient at the first step, and a BatchNorm in
between would have no statistics for them.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netmorph.errors import SiteError
from netmorph.filters.default_device import on_cpu
from netmorph.graph.attributes import LARGEST
from netmorph.solver.noise import generator

_UNEVEN = 0.5
_CHUNK = 1 << 22  # numbers in float64 at a time


def wider(width: int | str, present: int, *, blocks: int = 1, what: str) -> int:
    """Return the channels that a width means: a number, or a factor such as "2x" of the present ones, rounded half up.

    Args:
        width: as the user gives it.
        present: channels now.
        blocks: must divide the new width.
        what: what is widened, for errors.

    Raises:
        SiteError: if the width is invalid, not larger than the present one, above `LARGEST`, or not a multiple of
            `blocks`.
    """
    text = str(width).strip()
    try:
        factor = float(text.removesuffix("x"))
        number = math.floor(factor * present + 0.5) if text.endswith("x") else int(text)
    except (ValueError, OverflowError):
        number = -1
    if isinstance(width, bool) or number < 0:
        raise SiteError(
            f"{width!r} is not a valid width", remedies=["write 64 for 64 channels, or '2x' for twice the present ones"]
        )
    if number > LARGEST:
        raise SiteError(f"{what} cannot have that many channels", shapes=f"{LARGEST:,} channels at most")
    if number <= present:
        raise SiteError(
            f"{what} must become wider: only a larger width preserves the function",
            shapes=f"{present} channels now, {number} requested",
            remedies=[f"give a width above {present}"],
        )
    if number % blocks:
        raise SiteError(
            f"{what} lies between grouped convolutions, whose groups must stay alike",
            shapes=f"{present} channels now, {number} requested, in {blocks} groups",
            remedies=[f"give a multiple of {blocks}, such as {(number // blocks + 1) * blocks}"],
        )
    return number


@on_cpu
def copy_map(present: int, number: int, *, blocks: int, seed: int) -> Tensor:
    """Return, for each channel of the wider blob, the present channel that it computes.

    Within each block the present channels come first, then the copies: every channel once, twice and so on, and a
    random choice of the rest.

    Args:
        present: channels now.
        number: channels then.
        blocks: contiguous groups that each become wider by themselves.
        seed: random seed of the choice.
    """
    small, large = present // blocks, number // blocks
    random = generator(seed, "copies", present, number)
    rows = []
    for block in range(blocks):
        rounds = [torch.arange(small)] * (large // small) + [torch.randperm(small, generator=random)[: large % small]]
        rows.append(torch.cat(rounds) + block * small)
    return torch.cat(rows)


@on_cpu
def shares(weight: Tensor, index: Tensor, *, noise: float, seed: int) -> Tensor:
    """Return a weight whose columns read copies and add up to the columns of the present one.

    Args:
        weight: (rows, columns, ...), of any dtype.
        index: for each new column, the present one.
        noise: size of what cancels, relative to the root mean square of the weight (1 / sqrt(fan-in) where that is 0).
        seed: random seed of shares and noise.

    Returns:
        (rows, len(index), ...) in the weight's dtype. The first copy of each column takes the remainder after rounding.
    """
    random = generator(seed, "shares", tuple(weight.shape), len(index))
    columns = weight.shape[1]
    parts = 1 - _UNEVEN + torch.rand(len(index), generator=random, dtype=torch.float64)
    parts /= torch.zeros(columns, dtype=torch.float64).index_add_(0, index, parts)[index]
    copied = (torch.bincount(index, minlength=columns)[index] > 1).double()
    size = float(torch.linalg.vector_norm(weight.detach(), dtype=torch.float64)) / weight.numel() ** 0.5
    scale = noise * (size or weight[0].numel() ** -0.5)
    first, *ranks = _ranks(index, columns)
    shape = (1, -1, *(1,) * (weight.dim() - 2))
    out = weight.new_empty(weight.shape[0], len(index), *weight.shape[2:])
    for rows in torch.split(torch.arange(weight.shape[0]), max(1, _CHUNK // out[0].numel())):
        exact = weight[rows.to(weight.device)].detach().cpu().double()
        draws = torch.randn(len(rows), *out.shape[1:], generator=random, dtype=torch.float64)
        wide = exact[:, index] * parts.view(shape) + draws * (scale * copied).view(shape)
        wide = wide.to(weight.dtype).double()
        for positions in ranks:
            exact[:, index[positions]] -= wide[:, positions]
        wide[:, first] = exact
        out[rows.to(weight.device)] = wide.to(out)
    return out


def _ranks(index: Tensor, columns: int) -> list[Tensor]:
    """Return the positions of the first copy of every column, in the columns' order, then those of second ones, ..."""
    order = torch.argsort(index, stable=True)
    counts = torch.bincount(index, minlength=columns)
    starts = counts.cumsum(0) - counts
    return [order[starts[counts > rank] + rank] for rank in range(int(counts.max()))]
