"""Channels that come beside the present ones, and how they are born: as copies, or random (beyond the paper).

Copies compute what their originals do, and share their readers (Net2Net; see `copies`). Random channels change nothing
as long as what reads them is zero, which learns from the first step and lets them learn from the second (birth "zero"),
or as long as they come as twins whose readers cancel, so that both learn at once ("cancel").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from netmorph.errors import SiteError
from netmorph.filters.default_device import on_cpu
from netmorph.graph.symmetry import check_birth
from netmorph.solver.noise import generator
from netmorph.surgery.growth.copies import copy_map, shares

ChannelBirth = Literal["copies", "zero", "cancel"]
CHANNEL_BIRTHS: tuple[str, ...] = get_args(ChannelBirth)


@dataclass(frozen=True)
class Channels:
    """The channels of something that became wider.

    Attributes:
        index: for each channel, the present one that it is, copies, or takes its scale and its norm's parameters from.
        role: for each channel, 0 if it computes what channel `index` does; else it is new, 1, or the twin of the new
            one before it, 2.
        birth: how new channels are initialised, as in `widen`.
    """

    index: Tensor
    role: Tensor
    birth: ChannelBirth = "copies"

    @classmethod
    @on_cpu
    def of(cls, present: int, number: int, *, birth: ChannelBirth, blocks: int, seed: int, what: str) -> Channels:
        """Return the channels of something with `number` channels in place of `present`.

        Args:
            present: channels now.
            number: channels then.
            birth: how new channels are initialised, as in `widen`.
            blocks: contiguous groups that each become wider by themselves.
            seed: random seed of the choice of originals.
            what: what is widened, for errors.

        Raises:
            GraphError: if the birth is unknown.
            SiteError: if the number of new channels is odd and the birth needs pairs of channels.
        """
        check_birth(birth, CHANNEL_BIRTHS)
        index = copy_map(present, number, blocks=blocks, seed=seed)
        role = torch.zeros_like(index)
        if birth != "copies":
            new = (number - present) // blocks
            if birth == "cancel" and new % 2:
                raise SiteError(
                    f"birth='cancel' adds channels in pairs, and {what} would get an odd number of new channels",
                    shapes=f"{present} channels now, {number} requested"
                    + (f", in {blocks} groups" if blocks > 1 else ""),
                    remedies=[f"give {number + blocks} channels", "use birth='zero'"],
                )
            role.view(blocks, -1)[:, present // blocks :] = 1
            if birth == "cancel":
                role.view(blocks, -1)[:, present // blocks + 1 :: 2] = 2
                index[role == 2] = index[role == 1]
        return cls(index, role, birth)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def new(self) -> Tensor | None:
        """Which channels compute what none did before; None where all are copies."""
        return None if self.birth == "copies" else self.role > 0

    def times(self, count: int) -> Channels:
        """Return the channels of what a depthwise convolution with `count` filters a channel makes of these."""
        index = (self.index[:, None] * count + torch.arange(count, device=self.index.device)).flatten()
        if self.birth == "cancel" and count > 1:
            raise SiteError(
                "birth='cancel' needs pairs of neighbouring channels, which a depthwise convolution with several "
                "filters per channel separates",
                remedies=["use birth='zero'"],
            )
        return Channels(index, self.role.repeat_interleave(count), self.birth)

    def rows(self, weight: Tensor, *, seed: int) -> Tensor:
        """Return the weight of what writes the channels: (len(self), ...) from (present, ...).

        New rows are normal noise of the length of the present row that `index` names.
        """
        index = self.index.to(weight.device)
        out = weight.detach()[index]
        if self.birth == "copies":
            return out
        drawn = torch.randn(out.shape, generator=generator(seed, "rows", tuple(out.shape)), dtype=torch.float64)
        drawn[self.role == 2] = drawn[self.role == 1] if self.birth == "cancel" else drawn[self.role == 2]
        lengths = torch.linalg.vector_norm(out.cpu().double().flatten(1), dim=1)
        usual = float(lengths.square().mean().sqrt()) or 1.0
        lengths = torch.where(lengths > 0, lengths, usual)
        drawn *= (lengths / torch.linalg.vector_norm(drawn.flatten(1), dim=1)).view(-1, *(1,) * (out.dim() - 1))
        return torch.where((self.role > 0).view(-1, *(1,) * (out.dim() - 1)), drawn, out.cpu().double()).to(out)

    def columns(self, weight: Tensor, index: Tensor, role: Tensor, *, noise: float, seed: int) -> Tensor:
        """Return the weight of what reads the channels: (rows, len(index), ...) from (rows, present, ...).

        Args:
            weight: of what reads them now.
            index: for each new column, the present one.
            role: of the channel that each new column reads.
            noise: size of what cancels, relative to the root mean square of the weight.
            seed: random seed of what cancels.

        Raises:
            SiteError: if the weights that read two equal channels would all be zero, so that the channels would never
                differ.
        """
        if self.birth == "cancel" and not noise:
            raise SiteError(
                "birth='cancel' needs pairs of weights that cancel, and with noise=0 they would be zero",
                remedies=["pass a noise= above 0", "use birth='zero'"],
            )
        if self.birth == "copies":
            return shares(weight, index, noise=noise, seed=seed)
        out = weight.detach()[:, index.to(weight.device)].clone()
        out[:, (role > 0).to(weight.device)] = 0
        if self.birth == "cancel":
            size = float(torch.linalg.vector_norm(weight.detach(), dtype=torch.float64)) / weight.numel() ** 0.5
            shape = (len(weight), int((role == 1).sum()), *weight.shape[2:])
            drawn = torch.randn(shape, generator=generator(seed, "twins", shape), dtype=torch.float64)
            drawn *= noise * (size or weight[0].numel() ** -0.5)
            out[:, (role == 1).to(weight.device)] = drawn.to(out)
            out[:, (role == 2).to(weight.device)] = -drawn.to(out)
        return out
