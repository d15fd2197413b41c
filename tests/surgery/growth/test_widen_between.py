"""What may stand between two layers when the first becomes wider: each function is refused, or exact at every scale."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function

from netmorph.errors import SiteError
from netmorph.surgery.growth.widen import widen

Between = Callable[[Tensor], Tensor]
C = 6
SCALES = (1e-2, 1.0, 30.0, 1e3)
ANY, EVEN, NONE = ("2x", 9), ("2x",), ()


class Chain(nn.Module):
    def __init__(self, between: Between) -> None:
        super().__init__()
        self.a, self.b, self.between = nn.Conv2d(3, C, 3, padding=1), nn.Conv2d(C, 4, 3, padding=1), between
        self.register_buffer("like", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(self.a(x)).to(self.like.dtype))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(function: Between) -> Between:
    """Make a function one of PyTorch's own, as far as who watches can tell: what it does inside is not seen."""

    @wraps(function)
    def called(x: Tensor) -> Tensor:
        if has_torch_function((x,)):
            return handle_torch_function(called, (x,), x)  # type: ignore[no-any-return]
        return function(x)

    return called


def response_norm(x: Tensor) -> Tensor:
    """ConvNeXt V2's, with its gamma at 1."""
    size = x.norm(dim=(2, 3), keepdim=True)
    return x + x * (size / (size.mean(1, keepdim=True) + 1e-6))


def centred(x: Tensor) -> Tensor:
    return (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int | str, ...]]] = {
    "relu": (nn.ReLU, ANY),
    "relu in place": (partial(nn.ReLU, inplace=True), ANY),
    "gelu": (nn.GELU, ANY),
    "silu": (nn.SiLU, ANY),
    "mish": (nn.Mish, ANY),
    "hardswish": (nn.Hardswish, ANY),
    "softplus": (nn.Softplus, ANY),
    "one slope": (nn.PReLU, ANY),
    "slopes": (partial(nn.PReLU, C), ANY),
    "batch norm": (partial(nn.BatchNorm2d, C), ANY),
    "instance norm": (partial(nn.InstanceNorm2d, C, affine=True), ANY),
    "one group": (partial(nn.GroupNorm, 1, C, affine=False), EVEN),
    "group norm": (partial(nn.GroupNorm, 3, C, affine=False), NONE),
    "dropout": (nn.Dropout, ANY),
    "dropped maps": (nn.Dropout2d, ANY),
    "average pool": (partial(nn.AvgPool2d, 2), ANY),
    "max pool": (partial(nn.MaxPool2d, 3, 1, 1), ANY),
    "power pool": (partial(nn.LPPool2d, 2, 2), ANY),
    "adaptive pool": (partial(nn.AdaptiveAvgPool2d, (3, 5)), ANY),
    "bilinear": (partial(nn.Upsample, scale_factor=2, mode="bilinear"), ANY),
    "reflection": (partial(nn.ReflectionPad2d, 1), ANY),
    "softmax over rows": (partial(nn.Softmax, -1), ANY),
    "softmax": (partial(nn.Softmax, 1), NONE),
    "softmax2d": (nn.Softmax2d, NONE),
    "local response norm": (partial(nn.LocalResponseNorm, 3), NONE),
    "weak response norm": (partial(nn.LocalResponseNorm, 5, 1e-6, 0.1), NONE),
    "own response norm": (partial(nn.LocalResponseNorm, 1), ANY),
    "shuffle": (partial(nn.ChannelShuffle, 3), NONE),
}
# As written, and where a watcher sees only the whole of it.
FUNCTIONS: dict[str, tuple[Between, tuple[int | str, ...], tuple[int | str, ...]]] = {
    "affine": (lambda x: x * 0.7 + 0.1, ANY, ANY),
    "swish": (lambda x: x * torch.sigmoid(x), NONE, ANY),
    "swish in place": (lambda x: torch.sigmoid(x).mul_(x), NONE, ANY),
    "quick gelu": (lambda x: x * (1.702 * x).sigmoid(), NONE, ANY),
    "tanh gelu": (lambda x: 0.5 * x * (1 + torch.tanh(0.79788456 * (x + 0.044715 * x**3))), NONE, ANY),
    "squared relu": (lambda x: F.relu(x).square(), ANY, ANY),
    "mish, written": (lambda x: x * torch.tanh(F.softplus(x)), NONE, ANY),
    "leaky": (lambda x: torch.where(x > 0, x, 0.1 * x), NONE, ANY),
    "clamp": (lambda x: x.clamp(-1, 6) / 6, ANY, ANY),
    "log": (lambda x: torch.log1p(x.abs()), ANY, ANY),
    "signs": (torch.sign, ANY, ANY),
    "integers": (lambda x: (4 * x).clamp(-9, 9).round().to(torch.int32), ANY, ANY),
    "truth values": (lambda x: x > 0, ANY, ANY),
    "squeeze and excite": (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), NONE, ANY),
    "pair pooled": (lambda x: F.avg_pool2d(x, 2).repeat_interleave(2, 2), ANY, ANY),
    "weak mixing": (lambda x: x + 1e-6 * x.mean(1, keepdim=True), NONE, EVEN),
    "very weak mixing": (lambda x: x + 1e-8 * x.sum(1, keepdim=True), NONE, NONE),
    "weak gate": (lambda x: x * (1 + 1e-5 * x.sum(1, keepdim=True)), NONE, NONE),
    "weak gate of energy": (lambda x: x / (1 + 1e-7 * x.square().sum(1, keepdim=True)), NONE, NONE),
    "threshold": (lambda x: x * torch.where(x.sum(1, keepdim=True) > 500, 0.5, 1.0), NONE, NONE),
    "threshold of energy": (lambda x: x * torch.where(x.norm(dim=1, keepdim=True) > 900, 0.5, 1.0), NONE, NONE),
    "threshold of little energy": (lambda x: x * torch.where(x.norm(dim=1, keepdim=True) < 2e-3, 0.5, 1.0), NONE, NONE),
    "threshold of the largest": (lambda x: x * torch.where(x.amax(1, keepdim=True) > 90, 0.5, 1.0), NONE, ANY),
    "argmax": (lambda x: x * (x.argmax(1, keepdim=True) == 2), NONE, ANY),
    "layer norm": (centred, NONE, EVEN),
    "global response norm": (response_norm, NONE, EVEN),
    "gate of the whole": (lambda x: x * (1 + 1e-4 * x.square().sum((1, 2, 3), keepdim=True)), NONE, NONE),
    "unit length": (partial(F.normalize, dim=1), NONE, NONE),
    "unit rows": (partial(F.normalize, dim=-1), ANY, ANY),
    "neighbours": (lambda x: x + 1e-7 * x.roll(1, 1), NONE, EVEN),
    "sorted": (lambda x: x.sort(1).values, NONE, NONE),
    "first channel": (lambda x: x + 1e-9 * x[:, :1], NONE, ANY),
    "last channel": (lambda x: x + 1e-9 * x[:, -1:], NONE, EVEN),
    "by position": (lambda x: x * (1 + 1e-6 * torch.linspace(0, 1, x.shape[1]).view(-1, 1, 1)), NONE, NONE),
    "noise": (lambda x: x + 1e-3 * torch.randn_like(x), NONE, NONE),
    "dropped always": (partial(F.dropout, p=0.5), NONE, NONE),
    "spectrum": (lambda x: torch.fft.fft(x, dim=1).real, NONE, NONE),
    "rows' spectrum": (lambda x: torch.fft.fft(x, dim=-1).real, ANY, ANY),
}
CASES = [(name, make, ways) for name, (make, ways) in MODULES.items()]
CASES += [(name, lambda function=function: function, plain) for name, (function, plain, _) in FUNCTIONS.items()]
CASES += [(f"{name}, whole", lambda f=function: whole(f), ways) for name, (function, _, ways) in FUNCTIONS.items()]


@pytest.mark.parametrize(
    ("width", "dtype", "tolerance"), [("2x", torch.float32, 2e-6), (9, torch.float64, 1e-11)], ids=["2x", "9"]
)
@pytest.mark.parametrize(("make", "widths"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_refused_or_exact_at_every_scale(
    make: Callable[[], Between], widths: tuple[int | str, ...], width: int | str, dtype: torch.dtype, tolerance: float
) -> None:
    """The weights are shared out in the network's own dtype, and compared in float64."""
    torch.manual_seed(0)
    net, x = Chain(make()).to(dtype).eval(), drawn(2, 3, 6, 8).to(dtype)
    if width not in widths:
        with pytest.raises(SiteError, match="its channels cannot be traced"):
            widen(net, "a", width, example_inputs=x, inplace=True)
        assert net.a.out_channels == C
        return
    child = widen(net, "a", width, example_inputs=x).model.eval().double()
    assert child.a.out_channels > C
    net.double()
    with torch.no_grad():
        for seed, scale in enumerate(SCALES, 1):
            at = scale * drawn(2, 3, 6, 8, seed=seed)
            expected = net(at)
            assert float((child(at) - expected).abs().max()) <= tolerance * float(expected.abs().max())
