"""What a verb cannot keep is told: gradient hooks, state-dict hooks, what is new in a frozen layer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
GRAPH = "3x3 > 1x1"


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))


def morphed() -> nn.Module:
    return morph(network(), {"0": GRAPH}, example_inputs=X, act=None).model


Verb = Callable[..., Any]
VERBS: dict[str, tuple[Callable[[], nn.Module], Verb]] = {
    "morph": (network, lambda model, **options: morph(model, {"0": GRAPH}, example_inputs=X, **options)),
    "deepen": (network, lambda model, **options: deepen(model, "0", example_inputs=X, **options)),
    "widen": (network, lambda model, **options: widen(model, "0", "2x", example_inputs=X, **options)),
    "grow_kernel": (network, lambda model, **options: grow_kernel(model, "0", 5, example_inputs=X, **options)),
    "regrow": (morphed, lambda model, **options: regrow(model, "0", "3x3 > 3x3", example_inputs=X, **options)),
    "collapse": (morphed, lambda model, **options: collapse(model, X, **options)),
}
PARAMETERS = dict.fromkeys(VERBS, "0.weight") | {"regrow": "0.edges.a_t.weight", "collapse": "0.edges.a_t.weight"}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_gradient_hooks_of_what_is_replaced(verb: str, kind: str) -> None:
    make, call = VERBS[verb]
    model = make()
    getattr(model.get_parameter(PARAMETERS[verb]), kind)(lambda each: None)
    notices = call(model, inplace=True).notices
    expected = f"gradient hooks of '{PARAMETERS[verb]}' are lost, since these parameters were replaced"
    assert [expected in notice for notice in notices].count(True) == 1


def test_gradient_hooks_of_all_others_are_lost_by_the_copy_alone() -> None:
    model = network()
    model[2].weight.register_hook(lambda gradient: gradient)
    copied = " ".join(morph(model, {"0": GRAPH}, example_inputs=X).notices)
    assert "gradient hooks of '2.weight' are lost, since the child is a copy" in copied
    assert "hook" not in " ".join(morph(model, {"0": GRAPH}, example_inputs=X, inplace=True).notices)
    assert model[2].weight._backward_hooks


def test_state_dict_hooks_of_a_replaced_layer() -> None:
    model = network()
    model[0].register_state_dict_pre_hook(lambda *_: None)
    model[2].register_state_dict_pre_hook(lambda *_: None)
    notices = " ".join(morph(model, {"0": GRAPH}, example_inputs=X).notices)
    assert "the state-dict hooks of '0' are lost" in notices


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_new_in_a_frozen_layer_is_frozen_and_told(verb: str) -> None:
    make, call = VERBS[verb]
    model = make()
    model[0].requires_grad_(False)
    result = call(model)
    assert not any(parameter.requires_grad for parameter in result.model[0].parameters())
    assert ["'0' are frozen" in notice for notice in result.notices].count(True) == 1
    assert all(parameter.requires_grad for parameter in result.model[2].parameters())


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_told_where_nothing_is_lost(verb: str) -> None:
    make, call = VERBS[verb]
    model = make()
    model[2].weight.requires_grad_(verb == "widen")  # frozen, and not touched
    model[0].register_forward_hook(lambda *_: None)  # goes along
    said = " ".join(call(model, inplace=True).notices)
    assert "hook" not in said
    assert "frozen" not in said
    assert model[0]._forward_hooks
