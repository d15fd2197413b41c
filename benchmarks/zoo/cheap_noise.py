"""Random weights at the cost of a copy: a network of hundreds of millions of them draws for longer than it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PERIOD = 1_048_583  # a prime, so that no two rows of a weight are alike
STRIDE = 611_953  # from where one tensor begins to where the next one does


class CheapNoise(TorchDispatchMode):
    """Within a block, `uniform_` and `normal_` copy from a block of noise that is drawn once, each from another place.

    The distributions are those asked for, the initialisers that use them run as they are; only the random numbers
    repeat themselves, after `PERIOD`. Draws that name a generator, and tensors that are not contiguous float32 on the
    CPU, are left as they are.
    """

    _banks: Mapping[str, Tensor] = {}

    def __init__(self) -> None:
        super().__init__()
        self._drawn = 0
        self._fresh = 0
        if not CheapNoise._banks:
            random = torch.Generator().manual_seed(0)
            uniform, normal = torch.rand(PERIOD, generator=random), torch.randn(PERIOD, generator=random)
            CheapNoise._banks = {"uniform": uniform.repeat(2), "normal": normal.repeat(2)}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace the two draws, and the slow function that makes a normal of a uniform one right after its draw."""
        kwargs = kwargs or {}
        fresh, self._fresh = self._fresh, 0
        if kwargs.get("generator") is None and args and _plain(args[0]):
            if func is torch.ops.aten.uniform_.default:
                return self._uniform(*args)
            if func is torch.ops.aten.normal_.default:
                return self._normal(*args)
            if func is torch.ops.aten.erfinv_.default and args[0].data_ptr() == fresh:
                return _repeated(args[0], args[0].view(-1)[:PERIOD].erfinv())
        return func(*args, **kwargs)

    def _uniform(self, x: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
        self._fresh = x.data_ptr()
        return self._filled(x, "uniform", b - a, a)

    def _normal(self, x: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
        return self._filled(x, "normal", std, mean)

    def _filled(self, x: Tensor, bank: str, scale: float, shift: float) -> Tensor:
        """Return the tensor, filled with noise from the next place."""
        start = self._drawn % PERIOD
        self._drawn += STRIDE
        noise = CheapNoise._banks[bank][start : start + min(PERIOD, x.numel())]
        return _repeated(x, noise * scale + shift)


def _repeated(x: Tensor, noise: Tensor) -> Tensor:
    flat = x.detach().view(-1)
    for begin in range(0, flat.numel(), PERIOD):
        part = flat[begin : begin + PERIOD]
        part.copy_(noise[: part.numel()])
    return x


def _plain(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype == torch.float32 and x.device.type == "cpu" and x.is_contiguous()
