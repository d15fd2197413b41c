"""The parametric activations of eq. 8: P-phi(x) = (1 - a) phi(x) + a x, the identity at birth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.errors import GraphError, did_you_mean
from netmorph.nn.children import NamedChildren

# Elementwise activations of torch.nn whose arguments all have defaults, by lower-case name without underscores.
_PHI: dict[str, type[nn.Module]] = {
    kind.__name__.lower(): kind
    for kind in (
        nn.CELU,
        nn.ELU,
        nn.GELU,
        nn.Hardshrink,
        nn.Hardsigmoid,
        nn.Hardswish,
        nn.Hardtanh,
        nn.LeakyReLU,
        nn.LogSigmoid,
        nn.Mish,
        nn.ReLU,
        nn.ReLU6,
        nn.RReLU,
        nn.SELU,
        nn.SiLU,
        nn.Sigmoid,
        nn.Softplus,
        nn.Softshrink,
        nn.Softsign,
        nn.Tanh,
        nn.Tanhshrink,
    )
}
_ALIASES = {"auto": "relu", "prelu": "relu", "swish": "silu"}


class Activations(NamedChildren):
    """The activations of a morphed module's inner blobs; the `weight` of each is its slope a."""


class LastPReLU(nn.PReLU):
    """`nn.PReLU` with its slopes on the last dimension, where a linear layer has its channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return F.prelu(x.reshape(-1, self.num_parameters), self.weight).reshape(x.shape)


class Blend(nn.Module):
    """`(1 - a) phi(x) + a x` for any elementwise phi (eq. 8).

    Args:
        phi: the activation.
        channels: number of slopes a, one a channel.
        dims: spatial dimensions after the channels; 0: channels are last.
        device: of the slopes.
        dtype: of the slopes.
    """

    def __init__(
        self,
        phi: nn.Module,
        channels: int,
        dims: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.phi = phi
        self.dims = dims
        self.weight = nn.Parameter(torch.ones(channels, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *spatial) or (..., C) to the same shape."""
        return blend(self.phi(x), x, self.weight, self.dims)


def blend(y: Tensor, x: Tensor, slope: Tensor, dims: int) -> Tensor:
    """Return `(1 - a) y + a x` in x's dtype (autocast may have widened y); exactly x where a is 1.

    Args:
        y: what is blended in, of x's shape.
        x: (N, C, *spatial), or (..., C) where `dims` is 0.
        slope: a, (C,).
        dims: spatial dimensions after the channels.
    """
    return torch.lerp(y.to(x.dtype), x, slope.view(-1, *(1,) * dims).to(x.dtype))


def phi_name(name: str | None) -> str | None:
    """Return the lower-case name of the phi that `name` means; None for None and "none".

    Args:
        name: an elementwise activation of torch.nn, case and underscores ignored; "auto" is "relu".

    Raises:
        GraphError: no such activation, naming the nearest.
    """
    plain = "none" if name is None else str(name).lower().replace("_", "").replace("-", "")
    if plain == "none":
        return None
    plain = _ALIASES.get(plain, plain)
    if plain in _PHI:
        return plain
    known = f"the activations are {', '.join(sorted(_PHI))}, none"
    raise GraphError(
        f"{name!r} is not an activation that netmorph can blend with the identity",
        remedies=[*did_you_mean(plain, [*_PHI, *_ALIASES]), known],
    )


def build_activation(
    name: str | None,
    channels: int,
    dims: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module | None:
    """Return the parametric activation P-phi (eq. 8) for phi named `name`, every slope at 1; None for none.

    Args:
        name: as `phi_name` reads it.
        channels: of the blob.
        dims: the site's spatial dimensions; 0 puts the slopes on the last dimension.
        device: of the slopes.
        dtype: of the slopes.

    Raises:
        GraphError: no such activation, naming the nearest.
    """
    phi = phi_name(name)
    if phi is None:
        return None
    factory: dict[str, Any] = {"device": device, "dtype": dtype}
    if phi == "relu":
        return (nn.PReLU if dims else LastPReLU)(channels, init=1.0, **factory)
    return Blend(_PHI[phi](), channels, dims, **factory)
