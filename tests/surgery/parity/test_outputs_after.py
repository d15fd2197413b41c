"""What is asserted of the whole network's outputs, in the precision in which it computes."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from tests.surgery.networks import images
from torch import Tensor, nn

from netmorph.errors import ParityError
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.parity.network import verify

pytestmark = pytest.mark.skipif(
    os.environ.get("ONEDNN_MAX_CPU_ISA") != "AVX512_CORE_BF16" and torch.cpu._is_amx_tile_supported(),
    reason="oneDNN's bfloat16 convolutions fail on some virtual machines that announce AMX",
)
BFLOAT16 = 4 * 2**-7


class Cast(nn.Module):
    """Computes in bfloat16 whatever its caller says; its weights and what it returns are float32."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
            self.fc = nn.Linear(16, 4)

    @torch.autocast("cpu", torch.bfloat16)
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(self.a(x).relu()).relu().mean((2, 3))).float()


class Looking(Cast):
    """Its code looks at the type of a layer, under autocast as well."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 if isinstance(self.b, nn.Conv2d) else -1)


def test_autocast_inside_forward_sets_the_tolerance_of_the_outputs() -> None:
    x: Any = images(4)
    for seed in range(4):
        result = morph(Cast(seed), {"b": "3x3 > 1x1"}, example_inputs=x, calibration=[x])
        assert result.parity.tolerance == BFLOAT16
        assert result.parity.exact
        assert {site.tolerance for site in result.parity.sites} == {1e-5}  # measured outside of it
        assert result.parity.max_rel < BFLOAT16
        assert not any("differ" in notice for notice in result.notices)
    plain = morph(Cast(), {"b": "3x3 > 1x1"}, example_inputs=x, act=None).model
    assert verify(plain, plain, x).tolerance == BFLOAT16
    for grown in (
        widen(Cast(), "a", "2x", example_inputs=x),
        deepen(Cast(), "b", example_inputs=x),
        grow_kernel(Cast(), "b", 5, example_inputs=x),
        collapse(plain, example_inputs=x),
    ):
        assert grown.parity is not None
        assert grown.parity.exact


def test_autocast_hides_no_code_that_looks_at_types() -> None:
    x = images(4)
    with pytest.raises(ParityError, match="its code looks at the types .* at most 0.5 allowed"):
        morph(Looking(), {"b": "3x3 > 1x1"}, example_inputs=x)


def test_half_precision_weights_hide_none_either() -> None:
    x = images(4).bfloat16()
    with pytest.raises(ParityError, match="its code looks at the types .* at most 0.5 allowed"):
        morph(Looking().bfloat16(), {"b": "3x3 > 1x1"}, example_inputs=x)
