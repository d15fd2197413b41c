"""The one layer that a collapsed module becomes: its geometry, its weights, and the layer itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.filters.default_device import on_cpu
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.nn.edges import CONVS
from netmorph.surgery.call import reason
from netmorph.surgery.fold import Fold
from netmorph.surgery.layers import Kind
from netmorph.surgery.reading import expect


@dataclass(frozen=True)
class Plain:
    """A layer of PyTorch's own: a convolution, a linear layer or an identity.

    Attributes:
        kind: which.
        spec: its geometry.
        bias: whether it has one.
        same_padding: whether it pads by what its input's size asks for, as timm's `Conv2dSame`; `spec` says how much
            it pads besides: nothing.
    """

    kind: Kind
    spec: ConvSpec
    bias: bool
    same_padding: bool = False

    def build(self, *, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
        """Return the layer, its weights uninitialised; no random number is drawn.

        Raises:
            NetmorphError: PyTorch has no such layer.
        """
        spec = self.spec
        if self.kind == "identity":
            return nn.Identity()
        options: dict[str, Any] = {"bias": self.bias}
        with torch.device("meta"):
            made: nn.Module
            if self.kind == "linear":
                made = nn.Linear(spec.c_in, spec.c_out, **options)
            else:
                options |= {"padding": _padding(spec), "dilation": spec.dilation, "groups": spec.groups}
                if not self.same_padding:  # it pads with zeros
                    options["padding_mode"] = spec.padding_mode
                kind = _same_padded() if self.same_padding else CONVS[spec.dims]
                made = kind(spec.c_in, spec.c_out, spec.kernel, spec.stride, **options)
        made = made.to(torch.get_default_dtype() if dtype is None else dtype)
        return made.to_empty(device=torch.get_default_device() if device is None else device)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        spec = self.spec.to_dict()
        return {"kind": self.kind, "spec": spec, "bias": self.bias, "same_padding": self.same_padding}

    @classmethod
    def from_dict(cls, data: Any) -> Plain:
        """Rebuild a layer's description from `to_dict`'s output.

        Raises:
            NetmorphError: it is not one, or PyTorch has no such layer.
        """
        expect(data, {"kind": str, "spec": dict, "bias": bool, "same_padding": bool}, "a layer")
        spec, kind = ConvSpec.from_dict(data["spec"]), data["kind"]
        good = spec.dims > 0 if kind == "conv" else spec.dims == 0 and kind in ("linear", "identity")
        if not good or (data["same_padding"] and (spec.dims != 2 or kind != "conv")):
            raise NetmorphError(f"{kind!r} is not a kind of layer with {spec.dims} spatial dimensions")
        made = cls(kind, spec, data["bias"], data["same_padding"])
        try:
            made.build(device="meta", dtype=None)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise NetmorphError(f"PyTorch refuses such a layer: {reason(error)}", shapes=str(spec)) from error
        return made

    def __str__(self) -> str:
        if self.kind == "identity":
            return "identity"
        same = " padding as its input asks for" if self.same_padding else ""
        return f"{self.kind} {self.spec}{same}{'' if self.bias else ' without bias'}"


IDENTITY = Plain("identity", ConvSpec(1, 1), False)
"""An identity has no channels of its own."""


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


def _padding(spec: ConvSpec) -> str | Sequence[int]:
    if all(before == after >= 0 for before, after in spec.padding):
        return tuple(before for before, _ in spec.padding)
    if _is_same(spec):
        return "same"
    raise NetmorphError("PyTorch has no layer that pads like this", shapes=str(spec))


def _same_padded() -> type[nn.Module]:
    try:
        return import_module("timm.layers").Conv2dSame  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        raise NetmorphError(
            f"a layer that pads as its input asks for is timm's, which is not installed ({error})",
            remedies=["pip install timm"],
        ) from error


def _is_same(spec: ConvSpec) -> bool:
    """Return whether padding="same" says a geometry's padding."""
    spans = [d * (k - 1) for k, d in zip(spec.kernel, spec.dilation, strict=True)]
    same = tuple((span // 2, span - span // 2) for span in spans)
    return spec.padding == same and all(step == 1 for step in spec.stride)
