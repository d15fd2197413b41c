"""The settings of the births benchmark: a task, a parent, and the ways in which it grows."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.data.cifar import CIFAR, load_cifar
from netmorph.data.fashion import load_full_fashion
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.models.scratch import reborn
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph

Grow = Callable[[nn.Module, Tensor, int], nn.Module]
"""Returns a child of a parent, from an example and a seed."""


@dataclass(frozen=True)
class Task:
    """Data in memory.

    Attributes:
        name: as results call it.
        train: inputs and targets.
        test: inputs and targets.
        flip: whether training mirrors images at random.
        metric: what is measured on the test set: "error" (per cent) or "nats" (a byte).
    """

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    flip: bool = False
    metric: str = "error"


@dataclass(frozen=True)
class Learning:
    """How a child learns after its birth, where it differs from its setting's way.

    Attributes:
        new: factor on the rate of the parameters that the parent does not have.
        rise: epochs over which the rate rises.
        moments: whether the optimizer's moments are carried over; of gradients at the parent's weights.
        shrink: factor on what the parent had learned, to which (1 - factor) of a fresh network is added; 1 keeps it.
    """

    new: float = 1.0
    rise: float = 1.0
    moments: bool = False
    shrink: float = 1.0


@dataclass(frozen=True)
class Setting:
    """One experiment.

    Attributes:
        task: loads the data.
        parent: makes the untrained parent from a seed.
        births: by name, what grows a trained parent.
        scratch: name of the birth whose architecture is trained from scratch (controls A and S).
        fresh: makes that architecture untrained, from the child and a seed.
        epochs: of the parent.
        more: epochs of each child; the parent goes on for as many multiply-accumulates as the dearest of them.
        rate: learning rate, constant.
        optimizer: "sgd" (momentum 0.9) or "adamw".
        batch: size.
        learning: by birth, how it learns where it does so in a way of its own.
        parents: the setting whose parents these are, where not its own.
        what: one line for the reader.
    """

    task: Callable[[], Task]
    parent: Callable[[int], nn.Module]
    births: Mapping[str, Grow]
    scratch: str
    epochs: int
    more: int
    what: str
    fresh: Callable[[nn.Module, int], nn.Module] = reborn
    rate: float = 0.05
    optimizer: str = "sgd"
    batch: int = 100
    learning: Mapping[str, Learning] = field(default_factory=dict)
    parents: str = ""


class SmallNet(nn.Sequential):
    """Three 3x3 convolutions of `width` channels with BatchNorm and ReLU, two poolings, a linear layer."""

    def __init__(self, width: int, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(
                nn.Conv2d(1, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(width, 10),
            )


class Block(nn.Module):
    """A transformer block with norms before its branches, causal."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.act, self.down = nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to the same."""
        n, t, width = x.shape
        q, k, v = (y.view(n, t, self.heads, -1).transpose(1, 2) for y in self.qkv(self.norm1(x)).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        return x + self.down(self.act(self.up(self.norm2(x))))


class SmallGPT(nn.Module):
    """A small GPT on bytes."""

    def __init__(self, hidden: int, seed: int, *, width: int = 32, layers: int = 2, heads: int = 2, window: int = 64):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.token, self.place = nn.Embedding(128, width), nn.Embedding(window, width)
            self.blocks = nn.Sequential(*(Block(width, heads, hidden) for _ in range(layers)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 128, bias=False)
            for each in self.modules():
                if isinstance(each, nn.Linear | nn.Embedding):
                    nn.init.normal_(
                        each.weight, std=0.02 if isinstance(each, nn.Embedding) else each.weight.shape[1] ** -0.5
                    )

    def forward(self, ids: Tensor) -> Tensor:
        """Map (N, T) bytes to (N, 128, T) logits."""
        x = self.token(ids) + self.place(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(x))).transpose(1, 2)


def _pooled(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 2)


@cache
def fashion(images: int = 60_000) -> Task:
    """Return Fashion-MNIST at 14x14, from Debian's `dataset-fashion-mnist` or the folder that the variable names."""
    data = load_full_fashion(Path(os.environ.get("NETMORPH_FASHION", "/usr/share/datasets/fashion-mnist")))
    train, test = ((_pooled(data.normalise(each.images)), each.labels.long()) for each in (data.train, data.test))
    train = train[0][:images], train[1][:images]
    return Task(f"Fashion-MNIST at 14x14, {images:,} images", train, test)


@cache
def cifar() -> Task:
    """Return 25,000 images of CIFAR-10 at 16x16, from the folder that the environment variable names."""
    root = Path(os.environ.get("NETMORPH_CIFAR10", "../shared/data/cifar10"))
    data = load_cifar(CIFAR["cifar10"], root, train_limit=25_000)
    train, test = ((_pooled(data.normalise(each.images)), each.labels.long()) for each in (data.train, data.test))
    return Task("CIFAR-10 (JPEG, 25,000 images, 16x16)", train, test, flip=True)


@cache
def text() -> Task:
    """Return windows of 65 bytes of the source of Python's own library."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    read = b"\n".join(file.read_bytes() for file in files)
    ids = torch.tensor(list(read), dtype=torch.uint8)
    ids = ids[ids < 128][: 65 * 22_000].long().view(-1, 65)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))
    ids = ids[order]
    train, test = ids[:-2_000], ids[-2_000:]
    return Task(
        "Python's own library, bytes", (train[:, :-1], train[:, 1:]), (test[:, :-1], test[:, 1:]), metric="nats"
    )


def _morphed(sites: str, graph: str, birth: str, *, keep: bool = False) -> Grow:
    def grow(parent: nn.Module, x: Tensor, seed: int) -> nn.Module:
        names = dict.fromkeys(sites.split(), graph)
        batches = (
            [x] if x.is_floating_point() and any(isinstance(m, nn.BatchNorm2d) for m in parent.modules()) else None
        )
        return morph(
            parent, names, example_inputs=x[:8], birth=birth, keep_parent=keep, calibration=batches, seed=seed
        ).model

    return grow


def _widened(sites: Iterator[str] | tuple[str, ...], width: str, birth: str) -> Grow:
    def grow(parent: nn.Module, x: Tensor, seed: int) -> nn.Module:
        child = parent
        for site in sites:
            child = widen(child, site, width, example_inputs=x, birth=birth, seed=seed).model
        return child

    return grow


def _scaled(grow: Grow, factor: float) -> Grow:
    """Grow by twins that cancel, whose readers are `factor` times as large: they still cancel."""

    def grown(parent: nn.Module, x: Tensor, seed: int) -> nn.Module:
        child = grow(parent, x, seed)
        had = dict(parent.named_parameters())
        with torch.no_grad():
            for name, parameter in child.named_parameters():
                if name in had and parameter.dim() > 1 and parameter.shape[1] > had[name].shape[1]:
                    parameter[:, had[name].shape[1] :] *= factor
        return child

    return grown


_DEEPER = "3x3:4x > 3x3"
_FASHION = {
    **{birth: _morphed("4 8", _DEEPER, birth) for birth in ("slope", "pair")},
    **{f"{birth} beside": _morphed("4 8", _DEEPER, birth, keep=True) for birth in ("zero", "cancel")},
    **{f"widen 3x, {birth}": _widened(("0", "4", "8"), "3x", birth) for birth in ("copies", "zero", "cancel")},
}
_FACTORS = {
    f"widen {width}, {birth}": _widened(("0", "4", "8"), width, birth)
    for width in ("1.5x", "2x", "4x")
    for birth in ("copies", "zero")
}
_CIFAR = {
    **{birth: _morphed("layer*.conv1", _DEEPER, birth) for birth in ("slope", "pair")},
    "zero beside": _morphed("layer*.conv1", _DEEPER, "zero", keep=True),
    **{f"widen 4x, {birth}": _widened(("layer*.conv1",), "4x", birth) for birth in ("copies", "zero")},
}
_SHORTCUTS = {
    "pair, halves": _morphed("layer*.shortcut", "3x3:4x > 3x3", "pair"),
    "pair": _morphed("layer*.shortcut", "id | 3x3:4x > 3x3", "pair"),
    "zero": _morphed("layer*.shortcut", "id | 3x3:4x > 3x3", "zero"),
    "slope": _morphed("layer*.shortcut", "id | 3x3:4x > 3x3", "slope"),
}
_GPT = {f"widen 3x, {birth}": _widened(("blocks.*.up",), "3x", birth) for birth in ("copies", "zero", "cancel")}
_PAIR, _CANCEL = _FASHION["pair"], _FASHION["widen 3x, cancel"]
_LEARNING = {
    "new parameters at a third of the rate": Learning(new=1 / 3),
    "new parameters at three times the rate": Learning(new=3),
    "no rise of the rate": Learning(rise=0),
    "no rise, moments carried": Learning(rise=0, moments=True),
    "shrunk to 0.6, 0.4 fresh": Learning(shrink=0.6),
}
_ENOUGH = ("slope", "pair", "widen 3x, zero")

SETTINGS = {
    "fashion": Setting(
        fashion, partial(SmallNet, 6), _FASHION, "pair", 10, 4, "a small network whose capacity is used up"
    ),
    "fashion-factors": Setting(
        fashion,
        partial(SmallNet, 6),
        _FACTORS,
        "widen 4x, zero",
        10,
        4,
        "the same parents, widened by 1.5, 2 and 4",
        parents="fashion",
    ),
    "fashion-learning": Setting(
        fashion,
        partial(SmallNet, 6),
        {
            "pair": _PAIR,
            **{f"pair, {name}": _PAIR for name in _LEARNING},
            "widen 3x, cancel, readers 0.1x": _scaled(_CANCEL, 0.1),
            "widen 3x, cancel, readers 3x": _scaled(_CANCEL, 3),
        },
        "pair",
        10,
        4,
        "the same parents, by how the child learns",
        learning={f"pair, {name}": learning for name, learning in _LEARNING.items()},
        parents="fashion",
    ),
    "fashion-enough": Setting(
        partial(fashion, 15_000),
        partial(SmallNet, 20),
        {name: _FASHION[name] for name in _ENOUGH},
        "pair",
        12,
        4,
        "control: a parent not short of capacity (width 20)",
    ),
    "cifar": Setting(
        cifar,
        lambda seed: CifarResNet(8, width=4, seed=seed),
        _CIFAR,
        "pair",
        24,
        6,
        "ResNet-8 of width 4, trained out",
    ),
    "cifar-unfinished": Setting(
        cifar,
        lambda seed: CifarResNet(8, width=4, seed=seed),
        {name: _CIFAR[name] for name in ("slope", "pair", "widen 4x, zero")},
        "pair",
        4,
        3,
        "control: ResNet-8 of width 4 that has not finished learning",
    ),
    "cifar-shortcuts": Setting(
        cifar,
        lambda seed: CifarResNet(14, width=4, seed=seed),
        _SHORTCUTS,
        "pair",
        16,
        4,
        "ResNet-14 of width 4, its identity shortcuts grown",
    ),
    "gpt": Setting(
        text,
        partial(SmallGPT, 128),
        _GPT,
        "widen 3x, zero",
        6,
        3,
        "a GPT of two blocks, 32 channels",
        fresh=lambda child, seed: SmallGPT(384, seed),
        rate=0.003,
        optimizer="adamw",
    ),
}
