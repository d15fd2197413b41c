"""Why a morphed module is not the one layer that it could be: what is not linear, what meets the border."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.nn import MorphedModule
from netmorph.nn.activations import Blend
from netmorph.nn.edges import is_linear_edge
from netmorph.nn.norm import BlendedGroupNorm, BlendedLayerNorm
from netmorph.surgery.collapsing.fold import Affine

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def why_not_linear(module: MorphedModule, inside: str = "") -> str | None:
    """Return why a morphed module is not affine in eval mode; None where there is no reason.

    BatchNorm counts as what it is in eval mode, whatever the module's mode: `collapse` describes the eval function.

    Args:
        module: the module.
        inside: prefix for the names of its parts.
    """
    return next(_reasons(module, inside), None)


def _reasons(module: MorphedModule, inside: str) -> Iterator[str]:
    for blob in module.acts:
        yield from _activation(module.acts[blob], f"the activation of blob {inside + blob!r}")
    for edge in module.norms:
        yield from _norm(module.norms[edge], f"the norm of edge {inside + edge!r}")
    for edge in module.edges:
        child = module.edges[edge]
        if isinstance(child, MorphedModule):
            yield from _reasons(child, f"{inside}{edge}.")
        elif not is_linear_edge(child):
            yield f"edge {inside + edge!r} is now a {type(child).__name__}"


def why_lost(module: MorphedModule) -> str | None:
    """Return why a morphed module cannot be replaced at all: hooks that would go, numbers that are none; or None."""
    return next(_parts(module), None)


def _parts(module: MorphedModule) -> Iterator[str]:
    for name, part in module.named_modules():
        if part is not module and any(getattr(part, hooks, None) for hooks in _HOOKS):
            yield f"a hook on its part {name!r} would be lost"
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            yield f"its {name} is on the meta device and has no values"
        elif not tensor.isfinite().all():
            yield f"its {name} contains NaN or infinite values"


def _activation(act: nn.Module, what: str) -> Iterator[str]:
    if isinstance(act, nn.PReLU | Blend):
        yield from _slopes(act.weight, what)
    elif not isinstance(act, nn.Identity):
        yield f"{what} is now a {type(act).__name__}"


def _norm(norm: nn.Module, what: str) -> Iterator[str]:
    if isinstance(norm, _BatchNorm):
        if norm.running_mean is None or norm.running_var is None:
            yield f"{what} takes its statistics from each batch"
    elif isinstance(norm, BlendedGroupNorm | BlendedLayerNorm):
        yield from _slopes(norm.slope, what)
    elif not isinstance(norm, nn.Identity):
        yield f"{what} is now a {type(norm).__name__}"


def _slopes(slope: Tensor, what: str) -> Iterator[str]:
    if not bool((slope == 1).all()):
        low, high = slope.detach().aminmax()
        yield f"{what} is not the identity: its slopes range from {float(low):.3g} to {float(high):.3g}, all must be 1"


def why_border(module: MorphedModule, edges: Mapping[str, Affine]) -> str:
    """Say why one zero-padded layer differs from a linear module at the border.

    Args:
        module: the module.
        edges: what each of its edges does.
    """
    if module.layout.border == "zeros":
        for dim in range(module.layout.site.dims):
            found = _conflict(module, edges, dim)
            if found is not None:
                return found
    return "no layer pads as the module does"


def _conflict(module: MorphedModule, edges: Mapping[str, Affine], dim: int) -> str | None:
    """Return which edges with several taps along a dimension read what an inner blob cuts off, or a constant."""
    graph = module.layout.graph
    spread: dict[str, str | None] = {graph.source: None}
    shifted: dict[str, str | None] = {graph.source: None}
    incoming = graph.incoming
    for blob in graph.blobs[1:]:
        spread[blob] = shifted[blob] = None
        for edge in incoming[blob]:
            wide = edges[edge.name].filter.trim().kernel[dim] > 1
            before, constant = spread[edge.source], shifted[edge.source]
            if wide and before is not None:
                return f"edges {before!r} and {edge.name!r} are in series and both have more than one tap"
            if wide and constant is not None:
                return f"the constant that edge {constant!r} adds meets the zero padding of edge {edge.name!r}"
            spread[blob] = spread[blob] or (edge.name if wide else before)
            added = edges[edge.name].shift is not None
            shifted[blob] = shifted[blob] or (edge.name if added else constant)
    return None
