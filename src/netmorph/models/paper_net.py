"""The paper's names of networks, ``morph20_1c1_2branch_half``, and what each says about every block (section 4.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from netmorph.errors import NetmorphError
from netmorph.models.depths import IMAGENET_STAGES, stages_of

__all__ = ["KERNELS", "NAME", "PaperNet", "Place", "nets_of", "parse_net", "phase_net"]

KERNELS = ("1c1", "3c1", "3c3")
NAME = re.compile(rf"resnet(\d{{1,4}})|morph(\d{{1,4}})_({'|'.join(KERNELS)})(_2branch)?(_half)?")
_GRAMMAR = f"write resnet20 or morph20_1c1, with {', '.join(KERNELS)} and then _2branch, _half or _2branch_half"


@dataclass(frozen=True)
class Place:
    """A shortcut that is morphed.

    Attributes:
        name: of the slot, ``layer1.1.shortcut``.
        block: index of its block within the stage, from 0.
        branches: branches of two convolutions beside it, 1 or 2.
    """

    name: str
    block: int
    branches: int


@dataclass(frozen=True)
class PaperNet:
    """A network of Tables 1-5.

    A branch is two convolutions, the first with BatchNorm and PReLU, the second with BatchNorm. The first one stands
    beside the identity scaled by 0.5, a second one in the place of that. The first block of every stage is left as it
    is: so the costs of the tables say. "Half" means the blocks of odd index within their stage, counted from 0.

    Attributes:
        depth: 18 or 34 are ImageNet's networks; all others, 6n + 2, are CIFAR's.
        kernels: of a branch's two convolutions, "3c1" is 3x3 and then 1x1; None: not morphed.
        two_branch: which blocks have a second branch.
        half: whether only half of the blocks have a first one.
    """

    depth: int
    kernels: str | None = None
    two_branch: Literal["none", "half", "all"] = "none"
    half: bool = False

    @property
    def name(self) -> str:
        """The paper's name; `parse_net` is the inverse."""
        if self.kernels is None:
            return f"resnet{self.depth}"
        branches = {"none": "", "half": "_2branch_half", "all": "_2branch"}[self.two_branch]
        return f"morph{self.depth}_{self.kernels}{branches}{'_half' * self.half}"

    @property
    def parent(self) -> str:
        """Name of the network that it was morphed from, in one phase or several."""
        return f"resnet{self.depth}"

    @property
    def imagenet(self) -> bool:
        """Whether it is one of ImageNet's networks."""
        return self.depth in IMAGENET_STAGES

    @property
    def stages(self) -> tuple[int, ...]:
        """Blocks of each stage."""
        return stages_of(self.depth)

    @property
    def places(self) -> tuple[Place, ...]:
        """The morphed shortcuts, in the network's order."""
        return tuple(place for place in self._places() if place.branches)

    def _places(self) -> Iterator[Place]:
        for stage, blocks in enumerate(self.stages, start=1):
            for block in range(blocks):
                yield Place(f"layer{stage}.{block}.shortcut", block, self._branches(block))

    def _branches(self, block: int) -> int:
        """Return how many branches the block of an index within its stage has."""
        odd = block % 2 == 1
        if self.kernels is None or block == 0 or (self.half and not odd):
            return 0
        return 2 if self.two_branch == "all" or (self.two_branch == "half" and odd) else 1

    def graph(self, branches: int, shortcut_scale: float = 0.5) -> str:
        """Return the notation of a morphed shortcut.

        Args:
            branches: 1 or 2.
            shortcut_scale: 0.5: as in the paper, each branch takes the place of one half of the identity; 1.0: the
                identity stays whole beside them (a control, beyond the paper).

        Raises:
            NetmorphError: if the shortcut scale is not supported, or the network is not a morphed one.
        """
        if shortcut_scale not in (0.5, 1.0):
            raise NetmorphError(
                f"shortcut_scale is 0.5 (the paper's) or 1.0 (the identity stays whole), not {shortcut_scale!r}"
            )
        if self.kernels is None:
            raise NetmorphError(f"{self.name} has no morphed shortcuts")
        first, second = self.kernels.split("c")
        branch = f"{first}x{first} > {second}x{second}"
        halves = " | ".join([*(["0.5*id"] * (2 - branches)), *([branch] * branches)])
        return halves if shortcut_scale == 0.5 else " | ".join(["id", *([branch] * branches)])


def parse_net(name: str) -> PaperNet:
    """Read a name such as ``resnet20``, ``morph56_1c1_half`` or ``morph20_1c1_2branch_half``.

    ``_half`` alone has the first branch in half of the blocks, ``_2branch_half`` has it in all and the second in half:
    the phase "half" of Table 1.

    Raises:
        NetmorphError: if the name is not of this form, or the network has no block that could be morphed.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise NetmorphError(f"{name!r} is not a network of the paper", remedies=[_GRAMMAR])
    net = _net(match)
    stages_of(net.depth)
    if net.kernels is not None and not net.places:
        raise NetmorphError(
            f"{name!r}: every stage of {net.parent} has one block, and the first is not morphed",
            remedies=["use a depth of 14 or more"],
        )
    return net


def _net(match: re.Match[str]) -> PaperNet:
    if match[1]:
        return PaperNet(int(match[1]))
    doubled, half = bool(match[4]), bool(match[5])
    two_branch: Literal["none", "half", "all"] = "none" if not doubled else ("half" if half else "all")
    return PaperNet(int(match[2]), match[3], two_branch, half and not doubled)


def nets_of(depth: int) -> tuple[PaperNet, ...]:
    """Return all networks of a depth; of two names for one architecture, the shorter comes first.

    Raises:
        NetmorphError: if the paper's networks have no such depth.
    """
    parent = PaperNet(depth)
    stages_of(depth)
    grown = (
        net
        for kernels in KERNELS
        for net in (
            PaperNet(depth, kernels),
            PaperNet(depth, kernels, half=True),
            PaperNet(depth, kernels, "all"),
            PaperNet(depth, kernels, "half"),
        )
    )
    return (parent, *(net for net in grown if net.places))


def phase_net(net: str, phase: str) -> str:
    """Return the name of the network that an intermediate phase of Tables 1 and 3 trains.

    Args:
        net: the row's network, ``morph20_1c1_2branch``.
        phase: as the tables print it: "1c1", "3c1", "1c1_half", or "half", which is the row's own network with the
            second branch in half of the blocks.

    Raises:
        NetmorphError: if there is no such network.
    """
    target = parse_net(net)
    name = f"{target.name}_half" if phase == "half" else f"morph{target.depth}_{phase}"
    return parse_net(name).name
