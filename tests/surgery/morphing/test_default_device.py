"""PyTorch's default device may be another one than the network's: meta stands for a GPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from tests.surgery.networks import images, small
from torch import nn

from netmorph.solver.solve import solve
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph

X = images()
MORPHED = morph(small(), {"stem": "3x3 > 1x1", "fc": "1 > 1"}, example_inputs=X, act=None).model
VERBS: dict[str, Callable[[], nn.Module]] = {
    "morph": lambda: morph(small(), {"stem": "3x3 > 1x1", "*.shortcut": "0.5*id | 1x1"}, example_inputs=X).model,
    "calibrated": lambda: morph(small(), {"stem": "3x3 > 1x1"}, example_inputs=X, calibration=[X]).model,
    "widen": lambda: widen(small(), "blocks.0.conv1", 12, example_inputs=X).model,
    "widen a blob": lambda: widen(MORPHED, "fc", 12, blob="a", example_inputs=X).model,
    "deepen": lambda: deepen(small(), "blocks.0.conv1", example_inputs=X).model,
    "grow_kernel": lambda: grow_kernel(small(), "blocks.0.conv1", 5, example_inputs=X).model,
    "regrow": lambda: regrow(MORPHED, "fc", "1 > 1 | 1", example_inputs=X, act=None).model,
    "collapse": lambda: collapse(MORPHED, X).model,
}


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_gives_the_same_child(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = VERBS[verb]().state_dict()
    parent = small()
    monkeypatch.setitem(globals(), "small", lambda: parent)  # the test's own network is made before
    with default_device("meta"):
        found = VERBS[verb]().state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.parametrize("method", ["closed-form", "alternating", "stepwise"])
def test_solving_gives_the_same_filters(method: str) -> None:
    layer = nn.Conv2d(3, 4, 3)
    expected = solve(layer, "3x3 > 1x1", method=method).filters
    with default_device("meta"):
        found = solve(layer, "3x3 > 1x1", method=method).filters
    assert all(torch.equal(each.weight, expected[name].weight) for name, each in found.items())
