"""Padding by reflection and wrapping behind larger kernels: what became too small is said at the morph."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from netmorph.errors import SiteError
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.running.smallest_input import least_sizes


class Twice(nn.Module):
    """A layer that is called on a large input, then on its corner."""

    def __init__(self, mode: str, corner: int) -> None:
        super().__init__()
        self.conv, self.corner = nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode), corner

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3)) + self.conv(x[..., : self.corner]).mean((2, 3))


def x(size: int = 8) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


def again(model: nn.Module) -> object:
    small = morph(model, {"conv": "3x3 > 1x1"}, example_inputs=x())
    assert not any("needs inputs" in notice for notice in small.notices)
    return regrow(small.model, "conv", "7x7 > 1x1", example_inputs=x())


VERBS: dict[str, Callable[[nn.Module], object]] = {
    "morph": lambda model: morph(model, {"conv": "7x7 > 1x1"}, example_inputs=x()),
    "grow_kernel": lambda model: grow_kernel(model, "conv", 7, example_inputs=x()),
    "regrow": again,
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("mode", "least", "less"), [("reflect", 4, 2), ("circular", 3, 1)])
def test_what_is_needed_is_told(mode: str, least: int, less: int, verb: str) -> None:
    result = VERBS[verb](Twice(mode, least))
    told = f"'{mode}' and needs inputs of at least {least}x{least} now, where it needed {less}x{less}"
    assert f"'conv' has padding mode {told}" in result.notices
    result.model.conv(x(least))
    with pytest.raises(RuntimeError):
        result.model.conv(x(least - 1))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("mode", "least"), [("reflect", 4), ("circular", 3)])
def test_an_input_of_the_example_that_is_too_small(mode: str, least: int, verb: str) -> None:
    with pytest.raises(SiteError, match=f"at least {least}x{least} positions.*smaller kernels") as caught:
        VERBS[verb](Twice(mode, least - 1))
    assert caught.value.site == "conv"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_nothing_to_tell(mode: str, verb: str) -> None:
    result = VERBS[verb](Twice(mode, 1))
    assert not any("needs inputs" in notice for notice in result.notices)
    assert result.model.conv(x(1)).shape == (1, 4, 1, 1)


def test_sizes() -> None:
    assert least_sizes(nn.Conv2d(3, 4, (3, 5), padding=(1, 2), padding_mode="reflect")) == (2, 3)
    assert least_sizes(nn.Conv1d(3, 4, 4, padding="same", padding_mode="circular")) == (2,)
    assert least_sizes(nn.Conv2d(3, 4, 3, padding=1)) == ()
    deeper = deepen(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")), "0", 1, example_inputs=x())
    assert least_sizes(deeper.model) == (2, 2)
    assert not any("needs inputs" in notice for notice in deeper.notices)
