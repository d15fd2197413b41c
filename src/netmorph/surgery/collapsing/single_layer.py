"""The one layer that a collapsed module becomes: its geometry, its weights, and the layer itself."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from netmorph.filters.default_device import on_cpu
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.surgery.collapsing.fold import Fold
from netmorph.surgery.records.layer import IDENTITY, Plain, _is_same
from netmorph.surgery.sites.kinds import Kind


def plain_of(
    site: ConvSpec, folded: Fold, kind: Kind, *, bias: bool, same_padding: bool = False
) -> tuple[Plain, Tensor]:
    """Return the smallest layer that holds a folded module, and its weight in float64.

    It keeps the site's kernel, dilation, padding and groups as far as the filter fits them; where it does not, kernel
    and padding grow. A padding that PyTorch cannot say becomes symmetric by rows of zeros in the kernel.

    Args:
        site: geometry of the layer that was morphed.
        folded: the module.
        kind: what the layer was.
        bias: whether the layer had one.
        same_padding: whether the layer padded by what its input's size asked for.
    """
    support = folded.support
    spec = _symmetric(site, _grown(site, support))
    spec = spec.with_(groups=_groups(site, support, kind))
    weight = _read(folded.filter, spec)
    bias = bias or folded.shift is not None
    if kind == "identity" and not bias and _is_identity(folded):
        return IDENTITY, weight
    if same_padding:  # what the kernel grew by around its middle, the padding grows by too
        spec = spec.with_(padding=((0, 0),) * spec.dims)
    return Plain("conv" if spec.dims else "linear", spec, bias, same_padding), weight


def _grown(site: ConvSpec, support: Filter) -> ConvSpec:
    """Return the site's geometry, with another grid of taps in each dimension where the support is not on its own."""
    kernel, dilation, padding = list(site.kernel), list(site.dilation), list(site.padding)
    for dim in range(site.dims):
        taps = _taps(support, dim)
        places = [(tap - site.offset[dim]) / site.dilation[dim] for tap in taps]
        if all(place.is_integer() and 0 <= place < site.kernel[dim] for place in places):
            continue
        step = math.gcd(*(tap - taps[0] for tap in taps)) or site.dilation[dim]
        reach = taps[-1] - taps[0]
        # What the padding adds beyond the window decides the output's size: it stays.
        spare = sum(site.padding[dim]) - (site.extent[dim] - 1)
        kernel[dim], dilation[dim], padding[dim] = reach // step + 1, step, (-taps[0], spare + reach + taps[0])
    return site.with_(kernel=tuple(kernel), dilation=tuple(dilation), padding=tuple(padding))


def _symmetric(site: ConvSpec, spec: ConvSpec) -> ConvSpec:
    """Return the geometry with zeros around the taps until its padding is one that `nn.Conv2d` and the like can say."""
    if spec == site and _is_same(spec):
        return spec
    kernel, dilation, padding = [], [], []
    for k, step, (before, after) in zip(spec.kernel, spec.dilation, spec.padding, strict=True):
        finer = math.gcd(step, before - after)
        wider = max(before, after)
        wider += -(-max(-wider, 0) // finer) * finer
        kernel.append((step * (k - 1) + 2 * wider - before - after) // finer + 1)
        dilation.append(finer if kernel[-1] > 1 else step)
        padding.append((wider, wider))
    return spec.with_(kernel=tuple(kernel), dilation=tuple(dilation), padding=tuple(padding))


def _taps(support: Filter, dim: int) -> list[int]:
    """Return the positions along a dimension at which a filter has weights other than zero; one at least."""
    rows = support.weight.movedim(dim + 2, 0).flatten(1)
    live = (rows != 0).any(1).nonzero().flatten().tolist() or [0]
    return [support.offset[dim] + index * support.dilation[dim] for index in live]


def _groups(site: ConvSpec, support: Filter, kind: Kind) -> int:
    """Return the most groups that hold the filter: the site's or a divisor; an identity had none and takes any."""
    if kind == "identity":
        return support.groups
    channels = support.dense().weight.reshape(site.c_out, site.c_in, -1).abs().sum(2)
    for groups in range(site.groups, 1, -1):
        if site.groups % groups == 0:
            blocks = channels.reshape(groups, site.c_out // groups, groups, -1)
            apart = 1 - torch.eye(groups, dtype=blocks.dtype, device=blocks.device).reshape(groups, 1, groups, 1)
            if not bool((blocks * apart).any()):
                return groups
    return 1


@on_cpu
def _read(filter_: Filter, spec: ConvSpec) -> Tensor:
    """Return a filter's weights on a geometry's taps and groups; what lies elsewhere is left out."""
    weight = filter_.dense().weight
    for dim in range(spec.dims):
        found = range(filter_.offset[dim], filter_.last[dim] + 1, filter_.dilation[dim])
        wanted = [spec.offset[dim] + tap * spec.dilation[dim] for tap in range(spec.kernel[dim])]
        rows = [(found.index(tap), place) for place, tap in enumerate(wanted) if tap in found]
        out = weight.new_zeros(*weight.shape[: dim + 2], len(wanted), *weight.shape[dim + 3 :])
        if rows:
            old, new = (torch.tensor(index) for index in zip(*rows, strict=True))
            out.index_copy_(dim + 2, new, weight.index_select(dim + 2, old))
        weight = out
    groups = spec.groups
    blocks = weight.reshape(groups, spec.c_out // groups, groups, spec.c_in // groups, *spec.kernel)
    index = torch.arange(groups)
    return blocks[index, :, index].reshape(spec.weight_shape)


@on_cpu
def _is_identity(folded: Fold) -> bool:
    """Return whether a module is the identity but for rounding."""
    filter_ = folded.filter
    dense, noise = filter_.dense(), replace(filter_, weight=folded.noise).dense()
    weight = dense.weight.clone()
    origin = [(-o) // d if (-o) % d == 0 else -1 for o, d in zip(dense.offset, dense.dilation, strict=True)]
    if any(not 0 <= place < k for place, k in zip(origin, dense.kernel, strict=True)):
        return False
    index: tuple[slice | int, ...] = (slice(None), slice(None), *origin)
    weight[index] -= torch.eye(filter_.c_in, dtype=weight.dtype)
    return bool((weight.abs() <= noise.weight).all())
