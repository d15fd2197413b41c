"""The activations of a module's blobs: parametric ones (eq. 8), P-phi(x) = (1 - a) phi(x) + a x, or plain phi."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.errors import GraphError, did_you_mean
from netmorph.filters.default_device import on_cpu
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.symmetry import Birth, Symmetry
from netmorph.nn.children import NamedChildren
from netmorph.nn.settings import Setting, join, split

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
_PLAIN = "plain_"
_EXACT = 1e-9  # relative


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


# Types that compute the same in train mode as in eval mode.
MODELESS = frozenset({nn.PReLU, LastPReLU, Blend, *_PHI.values()} - {nn.RReLU})


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
    """Return the name of the phi that `name` means, in lower case with the settings that are not the defaults.

    Args:
        name: an elementwise activation of torch.nn, case and underscores ignored, with settings as its constructor
            takes them: "gelu", "gelu(approximate=tanh)", "LeakyReLU(negative_slope=0.2)"; "auto" is "relu". With
            "plain_" before it, phi itself is meant and not its parametric form. None and "none" are none.

    Raises:
        GraphError: if the activation or a setting of it is unknown; the message suggests the nearest name.
    """
    if name is None:
        return None
    if is_plain(name):
        phi = phi_name(name[len(_PLAIN) :])
        return None if phi is None else _PLAIN + phi
    plain, settings = split(str(name)) or (str(name), {})
    plain = plain.lower().replace("_", "").replace("-", "")
    if plain == "none" and not settings:
        return None
    plain = _ALIASES.get(plain, plain)
    if plain not in _PHI:
        known = f"the activations are {', '.join(sorted(_PHI))}, none"
        raise GraphError(
            f"{name!r:.80} is not an activation that netmorph can blend with the identity",
            remedies=[*did_you_mean(plain, [*_PHI, *_ALIASES]), known],
        )
    defaults = _defaults(plain)
    try:
        made = _PHI[plain](**settings).eval()
        made(torch.zeros(1, device="cpu"))  # an invalid setting raises only when the activation runs
        fits = all(type(value) is type(defaults[key]) for key, value in settings.items())
    except (KeyError, TypeError, ValueError, AssertionError, RuntimeError):
        fits = False
    if not fits:
        takes = ", ".join(f"{key}={value}" for key, value in defaults.items())
        raise GraphError(
            f"{name!r:.80} is not a setting of the activation {plain!r}",
            remedies=[f"it takes {takes}" if takes else "it takes none"],
        )
    return join(plain, settings, defaults)


def is_plain(name: str | None) -> bool:
    """Return whether an activation's name means phi itself, not its parametric form (eq. 8)."""
    return name is not None and str(name).startswith(_PLAIN)


def plain_name(name: str | None) -> str | None:
    """Return the name of phi itself for the name of an activation; None for none."""
    phi = phi_name(name)
    return phi if phi is None or is_plain(phi) else _PLAIN + phi


def act_at(birth: Birth, name: str | None) -> str | None:
    """Return the name of the activation that a module of a birth has: parametric at "slope", else phi itself."""
    phi = plain_name(name)
    return phi if phi is None or birth != "slope" else phi.removeprefix(_PLAIN)


def with_acts_at(birth: Birth, graph: ModuleGraph, blobs: Collection[str]) -> ModuleGraph:
    """Return a graph whose activations at some blobs, where it names them, are those of a birth."""
    items = graph.activation_items
    acts = tuple((blob, (act_at(birth, act) or "none") if blob in blobs else act) for blob, act in items)
    return replace(graph, activation_items=acts)


def act_name(module: nn.Module) -> str | None:
    """Return the name that builds an activation of a morphed module; None of any other module."""
    name = name_of(module)
    return name if isinstance(module, nn.PReLU | Blend) else plain_name(name)


@on_cpu
def symmetry_of(name: str) -> Symmetry:
    """Return what the phi of a name does to x and -x, found by running it on numbers of all sizes."""
    phi = build_activation(plain_name(name), 1, 0)
    assert phi is not None
    if isinstance(phi, nn.RReLU):  # in train mode it is random
        return Symmetry()
    x = torch.logspace(-6, 4, 101, dtype=torch.float64)
    above, below = phi(x), phi(-x)
    odd, sides = float(above[-1] - below[-1]) / float(x[-1]), (float(above[-1] / x[-1]), float(-below[-1] / x[-1]))
    pairs = torch.allclose(above - below, odd * x, rtol=_EXACT, atol=0) and abs(odd) > _EXACT
    straight = all(torch.allclose(y, p * x, rtol=_EXACT, atol=0) for y, p in zip((above, -below), sides, strict=True))
    return Symmetry(odd if pairs else None, sides if straight else None)


def symmetries(graph: ModuleGraph, act: str | None) -> dict[str, Symmetry]:
    """Return the symmetry of the activation of each inner blob that has one.

    Args:
        graph: the module graph.
        act: activation of the blobs for which the graph names none.
    """
    named = {blob: phi_name(graph.activations.get(blob, act)) for blob in graph.inner}
    known = {name: symmetry_of(name) for name in set(named.values()) if name is not None}
    return {blob: known[name] for blob, name in named.items() if name is not None}


def name_of(module: nn.Module) -> str | None:
    """Return the name by which `phi_name` knows a module of torch.nn, PReLU as ReLU; None of any other module."""
    if isinstance(module, nn.PReLU):
        return "relu"
    if isinstance(module, Blend):
        return name_of(module.phi)
    name = type(module).__name__.lower()
    if _PHI.get(name) is not type(module):
        return None
    return written(name, _settings(module))


def written(kind: str, given: Mapping[str, Setting]) -> str:
    """Return the name of an activation of torch.nn, with those of the given values that are settings of it.

    Args:
        kind: lower-case name without underscores.
        given: by name; others than settings are passed over.
    """
    defaults = _defaults(kind)
    values = {key: given[key] for key in defaults.keys() & given.keys()}
    return join(kind, {key: v if isinstance(v, str) else float(v) for key, v in values.items()}, defaults)


@cache
def _defaults(kind: str) -> dict[str, Setting]:
    return _settings(_PHI[kind]())


def _settings(module: nn.Module) -> dict[str, Setting]:
    """Return what an activation's constructor takes, but for whether it works in place."""
    keys = [key for key in getattr(module, "__constants__", ()) if key != "inplace"]
    if isinstance(module, nn.ReLU6):
        keys = []  # its bounds are what makes it one
    return {key: value if isinstance(value, str) else float(value) for key in keys for value in [getattr(module, key)]}


def build_activation(
    name: str | None,
    channels: int,
    dims: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module | None:
    """Return the parametric activation P-phi (eq. 8) for phi named `name`, every slope at 1; or phi itself.

    None if there is none.

    Args:
        name: as `phi_name` reads it.
        channels: of the blob.
        dims: the site's spatial dimensions; 0 puts the slopes on the last dimension.
        device: of the slopes.
        dtype: of the slopes.

    Raises:
        GraphError: if the activation is unknown; the message suggests the nearest name.
    """
    phi = phi_name(name)
    if phi is None:
        return None
    factory: dict[str, Any] = {"device": device, "dtype": dtype}
    if phi == "relu":
        return (nn.PReLU if dims else LastPReLU)(channels, init=1.0, **factory)
    kind, settings = split(phi.removeprefix(_PLAIN)) or (phi, {})
    made = _PHI[kind](**settings)
    return made if is_plain(phi) else Blend(made, channels, dims, **factory)
