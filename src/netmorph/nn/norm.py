"""Normalisation after an edge's convolution, the identity at birth (eq. 9 and beyond the paper)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.errors import GraphError, did_you_mean
from netmorph.nn.activations import blend
from netmorph.nn.children import NamedChildren
from netmorph.nn.settings import Setting, join, split

NAMES = ("calibrated", "neutral", "paper", "group", "layer", "none")
MOST_GROUPS = 32
NEEDY = ("calibrated", "paper")  # they need data
_BLENDED: dict[str, Setting] = {"eps": 1e-5}
_DEFAULTS: dict[str, Setting] = {**_BLENDED, "momentum": 0.1, "sync": "no"}
FEWEST_CHANNELS = 4  # of a group: of one channel, at a linear site, nothing is left but beta


class Norms(NamedChildren):
    """The norms of a morphed module's edges.

    Args:
        children: norms by edge.
        kinds: their names without settings ("calibrated" and so on) by edge.
    """

    kinds: Mapping[str, str] = MappingProxyType({})  # so that no child of that name takes its place

    def __init__(self, children: Mapping[str, nn.Module], kinds: Mapping[str, str]) -> None:
        super().__init__(children)
        self.kinds = dict(kinds)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Register a module; a SyncBatchNorm in the place of a norm over the last dimension takes on its forward.

        `nn.SyncBatchNorm.convert_sync_batchnorm` puts one there, which by itself would norm dimension 1.
        """
        last = isinstance(self._modules.get(name), LastBatchNorm | LastSyncBatchNorm)
        if last and type(module) is nn.SyncBatchNorm:
            module.__class__ = LastSyncBatchNorm
        super().add_module(name, module)


class LastBatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` over the last dimension, whatever the shape: every other dimension is batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return super().forward(x.reshape(-1, self.num_features)).reshape(x.shape)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any shape, tracing proxies included."""


class LastSyncBatchNorm(nn.SyncBatchNorm):
    """`nn.SyncBatchNorm` over the last dimension: what `LastBatchNorm` becomes for training on several processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return super().forward(x.reshape(-1, self.num_features)).reshape(x.shape)


class BlendedGroupNorm(nn.GroupNorm):
    """`(1 - a) GroupNorm(x) + a x`, a = 1 at birth (beyond the paper).

    A GroupNorm's statistics are the sample's own: no affine part makes it the identity.
    """

    def __init__(self, channels: int, dims: int, eps: float = 1e-5, **factory: Any) -> None:
        super().__init__(_group_count(channels), channels, eps, **factory)
        self.dims = dims
        self.slope = nn.Parameter(torch.ones(channels, **factory))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *spatial), or (..., C) at a linear site, to the same shape."""
        rows = x if self.dims else x.reshape(-1, self.num_channels)
        # Not F.group_norm, which refuses a group of one value: one sample of few channels has such.
        y = torch.group_norm(rows, self.num_groups, self.weight, self.bias, self.eps)
        return blend(y.reshape(x.shape), x, self.slope, self.dims)


def group_counts(model: nn.Module) -> dict[str, int]:
    """Return the number of groups of each `BlendedGroupNorm` of a network, by qualified name."""
    return {name: norm.num_groups for name, norm in _group_norms(model)}


def set_group_counts(model: nn.Module, counts: Mapping[str, int] | None) -> None:
    """Give the blended group norms of a network their numbers of groups, which no state dict holds.

    Args:
        model: the network.
        counts: by qualified name; None: as they were before every group had several channels.

    Raises:
        GraphError: if a number of groups does not divide the channels of its norm.
    """
    norms = dict(_group_norms(model))
    counts = {name: _largest_count(norm) for name, norm in norms.items()} if counts is None else counts
    for name, count in counts.items():
        if name not in norms or type(count) is not int or count < 1 or norms[name].num_channels % count:
            raise GraphError(f"{name!r} is not a group norm that can have {count!r:.80} groups")
    for name, count in counts.items():
        norms[name].num_groups = count


def _group_norms(model: nn.Module) -> list[tuple[str, BlendedGroupNorm]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, BlendedGroupNorm)]


def _largest_count(norm: BlendedGroupNorm) -> int:
    return math.gcd(MOST_GROUPS, norm.num_channels)


def _group_count(channels: int) -> int:
    """Return the number of groups: the largest power of two up to 32 that leaves each enough channels."""
    groups = math.gcd(MOST_GROUPS, channels)
    while groups > 1 and channels // groups < FEWEST_CHANNELS:
        groups //= 2
    return groups


class BlendedLayerNorm(nn.LayerNorm):
    """`(1 - a) LayerNorm(x) + a x` over the channels of each position, a = 1 at birth (beyond the paper)."""

    def __init__(self, channels: int, dims: int, eps: float = 1e-5, **factory: Any) -> None:
        super().__init__(channels, eps, **factory)
        self.dims = dims
        self.slope = nn.Parameter(torch.ones(channels, **factory))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *spatial), or (..., C) at a linear site, to the same shape."""
        y = super().forward(x.movedim(1, -1)).movedim(-1, 1) if self.dims else super().forward(x)
        return blend(y, x, self.slope, self.dims)


_BATCH_NORMS: dict[int, type[_BatchNorm]] = {0: LastBatchNorm, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def norm_name(name: str | None) -> str | None:
    """Return `name` with those settings that are not the defaults; None for None and "none".

    Args:
        name: one of `NAMES`, with the settings of its BatchNorm, "calibrated(eps=0.001, momentum=0.01, sync=yes)":
            momentum may be "none" (a cumulative average), sync makes it a SyncBatchNorm. Blended norms have eps only.

    Raises:
        GraphError: if the norm or a setting of it is unknown; the message suggests the nearest name.
    """
    if name is None or name == "none":
        return None
    kind, settings = _read(name)
    return join(kind, settings, _defaults(kind))


def norm_kind(name: str | None) -> str | None:
    """Return the name of a norm without its settings; None for None and "none"."""
    return None if name is None or name == "none" else _read(name)[0]


def norm_settings(module: nn.Module) -> dict[str, Setting]:
    """Return the settings of a BatchNorm, GroupNorm or LayerNorm, as far as a name can say them."""
    settings: dict[str, Setting] = {"eps": float(getattr(module, "eps", 1e-5))}
    if isinstance(module, _BatchNorm):
        settings["momentum"] = "none" if module.momentum is None else float(module.momentum)
        settings["sync"] = "yes" if isinstance(module, nn.SyncBatchNorm) else "no"
    return settings


def named(kind: str, settings: Mapping[str, Setting]) -> str:
    """Return a norm's name with settings; those that its kind does not take are left out."""
    return join(kind, settings, _defaults(kind))


def check_norms(module: nn.Module) -> None:
    """Raise if a group norm of a morphed module would see a single value at a time, of which it leaves nothing.

    Raises:
        GraphError: if a group norm would normalise over a single value.
    """
    for name, norm in _group_norms(module):
        if not norm.dims and norm.num_channels == norm.num_groups:
            raise GraphError(
                "norm 'group' would normalise over a single value per group, so that its output would be constant",
                shapes=f"{name}: {norm.num_channels} channel{'s' * (norm.num_channels > 1)} at a linear site",
                remedies=["use norm=None here", "use norm='neutral'", "widen the graph's blobs"],
            )


def _read(name: str) -> tuple[str, dict[str, Setting]]:
    kind, settings = split(str(name)) or (str(name), {})  # `phi_name` does the same with what is no text
    if kind not in NAMES or (kind == "none" and settings):
        known = f"the norms are {', '.join(NAMES)}"
        raise GraphError(f"{name!r:.80} is not a norm", remedies=[*did_you_mean(kind, NAMES), known])
    if not all(key in _defaults(kind) and _LIMITS[key](value) for key, value in settings.items()):
        takes = ", ".join(f"{key}={value}" for key, value in _defaults(kind).items())
        raise GraphError(f"{name!r:.80} is not a setting of the norm {kind!r}", remedies=[f"it takes {takes}"])
    return kind, settings


def _defaults(kind: str) -> dict[str, Setting]:
    return _BLENDED if kind in ("group", "layer") else _DEFAULTS


_LIMITS: dict[str, Callable[[Setting], bool]] = {
    "eps": lambda value: isinstance(value, float) and value >= 0,
    "momentum": lambda value: value == "none" or (isinstance(value, float) and 0 <= value <= 1),
    "sync": lambda value: value in ("yes", "no"),
}


def build_norm(
    name: str | None,
    channels: int,
    dims: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module | None:
    """Return the norm named `name` for an edge's output, the identity in eval mode; None for None and "none".

    Args:
        name: "calibrated", "neutral" or "paper": a BatchNorm (they differ in what `collect` makes of them); "group" or
            "layer": blended with the identity. Settings as `norm_name` reads them.
        channels: of the edge's output.
        dims: the site's spatial dimensions; 0 normalises the last dimension.
        device: of its parameters.
        dtype: of its parameters.

    Raises:
        GraphError: if the norm is unknown; the message suggests the nearest name.
    """
    if name is None or name == "none":
        return None
    kind, given = _read(name)
    settings: dict[str, Any] = {**_defaults(kind), **given}
    factory: dict[str, Any] = {"eps": settings["eps"], "device": device, "dtype": dtype}
    if kind == "group":
        return BlendedGroupNorm(channels, dims, **factory)
    if kind == "layer":
        return BlendedLayerNorm(channels, dims, **factory)
    momentum = None if settings["momentum"] == "none" else settings["momentum"]
    batch_norm = _BATCH_NORMS[dims]
    if settings["sync"] == "yes":
        batch_norm = nn.SyncBatchNorm if dims else LastSyncBatchNorm
    made = batch_norm(channels, momentum=momentum, **factory)
    neutralise(made)
    return made


@torch.no_grad()
def neutralise(module: _BatchNorm) -> None:
    """Make a BatchNorm the identity in eval mode, whatever its running statistics (eq. 9).

    gamma = sqrt(running_var + eps) and beta = running_mean, from the statistics as stored, so that rounding them to the
    module's dtype costs no exactness.
    """
    assert module.running_mean is not None
    assert module.running_var is not None
    module.weight.copy_((module.running_var.double() + module.eps).sqrt())
    module.bias.copy_(module.running_mean)
