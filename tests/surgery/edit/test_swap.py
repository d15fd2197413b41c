import pytest
import torch
from tests.surgery.networks import small
from torch import nn

from netmorph.errors import SiteError
from netmorph.surgery.edit.swap import inherit, swap, swapped


class Slots(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Linear(2, 2)
        self.sequence = nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
        self.list = nn.ModuleList([nn.Linear(2, 2)])
        self.dict = nn.ModuleDict({"one": nn.Linear(2, 2)})
        self.register_module("empty", None)


@pytest.mark.parametrize("name", ["plain", "sequence.1", "list.0", "dict.one", "empty"])
def test_every_kind_of_slot(name: str) -> None:
    model, new = Slots(), nn.Identity()
    order = [key for key, _ in model.named_modules()]
    assert swap(model, name, new) is model
    assert model.get_submodule(name) is new
    if name != "empty":
        assert [key for key, _ in model.named_modules()] == order


def test_the_root_becomes_the_module() -> None:
    new = nn.Identity()
    assert swap(nn.Linear(2, 2), "", new) is new


@pytest.mark.parametrize(
    ("name", "message"), [("dict.two", "ModuleDict has no module 'two'.*'one'"), ("nowhere.at.all", "nowhere")]
)
def test_no_such_place(name: str, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        swap(Slots(), name, nn.Identity())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_all_is_put_back_when_the_block_raises(error: type[BaseException]) -> None:
    model = Slots()
    before = dict(model.named_modules())

    def block() -> None:
        with swapped(model, {"plain": nn.ReLU(), "list.0": nn.ReLU()}) as changed:
            assert changed is model
            assert isinstance(model.list[0], nn.ReLU)
            raise error

    with pytest.raises(error):
        block()
    assert dict(model.named_modules()) == before


def test_swapped_modules_stay_otherwise() -> None:
    model = Slots()
    with swapped(model, {"plain": nn.ReLU()}):
        pass
    assert isinstance(model.plain, nn.ReLU)


def test_mode_gradients_and_hooks_are_inherited() -> None:
    old, new = nn.Conv2d(2, 2, 1).eval(), nn.Conv2d(2, 2, 3)
    old.weight.requires_grad_(False)
    calls = []
    handle = old.register_forward_hook(lambda *_: calls.append("after"))
    old.register_forward_pre_hook(lambda *_: calls.append("before"))
    old.register_full_backward_hook(lambda *_: calls.append("back"))
    inherit(old, new)
    assert not new.training
    assert not new.weight.requires_grad
    assert new.bias.requires_grad
    new(torch.zeros(1, 2, 3, 3, requires_grad=True)).sum().backward()
    assert calls == ["before", "after", "back"]
    handle.remove()
    new(torch.zeros(1, 2, 3, 3))
    assert calls[3:] == ["before"]


def test_an_identity_hands_down_its_mode_alone() -> None:
    new = nn.Conv2d(2, 2, 1, bias=False)
    inherit(nn.Identity().eval(), new)
    assert (new.training, new.weight.requires_grad) == (False, True)
    inherit(nn.Linear(2, 2, bias=True), new)
    assert new.training


def test_a_frozen_bias_stays_frozen() -> None:
    model = small()
    model.stem.bias.requires_grad_(False)
    new = nn.Conv2d(3, 8, 1)
    inherit(model.stem, new)
    assert (new.weight.requires_grad, new.bias.requires_grad) == (True, False)
