"""One morphed module as the layer that it equals, compared with it; or why there is no such layer."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from netmorph.brief import Brief
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.spec import ModuleGraph
from netmorph.nn import MorphedModule
from netmorph.nn.same_padded import SamePaddedModule
from netmorph.surgery.collapsing.as_born import as_born
from netmorph.surgery.collapsing.fold import Fold, fold
from netmorph.surgery.collapsing.linearity import why_border, why_lost, why_not_linear
from netmorph.surgery.collapsing.single_layer import plain_of
from netmorph.surgery.edit.memory_format import keep_memory_format
from netmorph.surgery.parity.site import SiteParity, site_parity, tolerance_of
from netmorph.surgery.records.layer import IDENTITY, Plain
from netmorph.surgery.sites.kinds import Kind


@dataclass(frozen=True, repr=False)
class CollapsedSite(Brief):
    """The layer that replaces a collapsed module.

    Attributes:
        name: qualified name.
        graph: the module's graph.
        site: geometry of the layer that was morphed.
        layer: the new layer.
        parity: the measured difference between module and layer in eval mode, relative to the layer's largest output.
    """

    name: str
    graph: ModuleGraph
    site: ConvSpec
    layer: Plain
    parity: SiteParity

    def __str__(self) -> str:
        name = self.name or "(the model itself)"
        return f"{name}: {str(self.graph)!r} -> {self.layer}, difference {self.parity.max_rel:.1e}"


def collapse_site(
    name: str,
    module: MorphedModule,
    like: Tensor,
    *,
    kind: Kind,
    recorded: Tensor | None,
    tolerance: float | None,
    approximate: bool,
) -> tuple[CollapsedSite, nn.Module] | str:
    """Return the layer that a morphed module equals, or why there is none.

    Both are evaluated in float64, the layer with its weights as stored: what is measured is the difference of the two
    functions, not that of two ways to add.

    Args:
        name: qualified name.
        module: the module; it is left as it is.
        like: a tensor of the dtype and on the device of the layer.
        kind: what was morphed.
        recorded: an input of the module; None: only synthetic ones are used.
        tolerance: largest relative difference; None: that of the dtype.
        approximate: whether the border may differ by more.
    """
    linear = why_lost(module) or as_born(module)
    if isinstance(linear, str):
        return linear
    why = why_not_linear(linear)
    if why is not None:
        return why
    folded = fold(linear)
    same = isinstance(module, SamePaddedModule)
    plain, weight = plain_of(module.layout.site, folded, kind, bias=module.bias is not None, same_padding=same)
    layer = plain.build(device=like.device, dtype=like.dtype)
    if plain != IDENTITY:
        _fill(layer, weight, folded, module)
        if not all(parameter.isfinite().all() for parameter in layer.parameters()):
            return f"its filter exceeds the range of {_short(like.dtype)}"
    allowed = tolerance_of(like.dtype) if tolerance is None else tolerance
    rounded, parity = _measure(name, module, weight, layer, plain, recorded)
    parity = SiteParity(name, like.dtype, allowed, parity.measured)
    if rounded.max_rel > allowed:
        return f"rounding its filter to {_short(like.dtype)} costs {rounded.max_rel:.1e} (tolerance {allowed:.1e})"
    if parity.max_rel > allowed and not approximate:
        cause = why_border(linear, folded.edges)
        return f"border error {parity.max_rel:.1e} (tolerance {allowed:.1e}): {cause}; approximate=True accepts it"
    return CollapsedSite(name, module.layout.graph, module.layout.site, plain, parity), layer


@torch.no_grad()
def _fill(layer: nn.Module, weight: Tensor, folded: Fold, module: MorphedModule) -> None:
    """Give the layer its weights, and what the module's own have besides numbers."""
    own = [parameter for parameter in module.edges.parameters() if parameter.dim() > 1]
    keep_memory_format(module.edges, layer)
    layer.get_parameter("weight").copy_(weight).requires_grad_(any(parameter.requires_grad for parameter in own))
    bias = layer._parameters.get("bias")
    if bias is not None:
        bias.copy_(torch.zeros_like(bias) if folded.shift is None else folded.shift)
        bias.requires_grad_(any(parameter.requires_grad for parameter in module.parameters()))


def _measure(
    name: str, module: MorphedModule, weight: Tensor, layer: nn.Module, plain: Plain, recorded: Tensor | None
) -> tuple[SiteParity, SiteParity]:
    """Return the layer's difference from what it was before rounding, and from the module."""
    if plain == IDENTITY:
        site = module.layout.site
        plain = Plain("conv" if site.dims else "linear", ConvSpec(site.c_in, site.c_out, (1,) * site.dims), False)
        layer = plain.build(device="cpu", dtype=torch.float64)
        weight = torch.eye(site.c_in, dtype=torch.float64, device="cpu").reshape(plain.spec.weight_shape)
        layer.get_parameter("weight").data.copy_(weight)
    stored = copy.deepcopy(layer).to("cpu", torch.float64)
    # Rounding costs the same whatever the padding.
    bare = replace(plain, spec=plain.spec.with_(padding_mode="zeros"), bias=False, same_padding=False)
    unrounded, rounded = (bare.build(device="cpu", dtype=torch.float64) for _ in range(2))
    unrounded.get_parameter("weight").data.copy_(weight)
    rounded.get_parameter("weight").data.copy_(stored.get_parameter("weight"))
    exact = copy.deepcopy(module).to("cpu", torch.float64)
    return (
        site_parity(unrounded, rounded, recorded, site=name, spec=bare.spec, check=False),
        site_parity(stored, exact, recorded, site=name, spec=plain.spec, check=False),
    )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
