import pytest
import torch
from tests.surgery.growing import gap, pictures, resnet, shaken
from tests.surgery.networks import left_alone
from tests.surgery.training import equal, states
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.errors import SiteError
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer

X = pictures()


def test_results_say_what_happened() -> None:
    net = shaken(morph(resnet(), {"*.conv1": "3x3 > 1x1"}, example_inputs=X).model)
    result = grow_kernel(net, "layer1.*.edges.a_t", 3, example_inputs=X, seed=7)
    assert result.cost.after.params - result.cost.before.params == 4 * 4 * 8
    assert result.parity.max_rel < 1e-6
    assert result.history[-1].operation == "grow_kernel"
    assert result.history[-1].options == {"site": "layer1.*.edges.a_t", "kernel": [3], "seed": 7}
    assert result.sites == result.history[-1].sites
    assert result.notices == ()
    assert str(result.sites[0].graph) == "3x3 > 3x3"


class Unreached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x)


def test_what_the_example_does_not_reach() -> None:
    result = grow_kernel(Unreached(), "*", 3, example_inputs=X)
    assert result.notices == ("'b' is not reached by the example: its parity was measured on synthetic inputs",)
    assert [site.name for site in result.sites] == ["a", "b"]
    assert [parity.measured[0].source for parity in result.parity.sites] == ["recorded", "synthetic"]


def test_shared_modules_are_refused() -> None:
    module = morph(nn.Conv2d(4, 4, 3, padding=1), {"": "3x3 > 1x1"}, example_inputs=X[:, :1].expand(2, 4, 10, 11)).model
    net = nn.Sequential(nn.Conv2d(3, 4, 1), module, module)
    with left_alone(net), pytest.raises(SiteError, match="it is shared: the same module is also registered as '2'"):
        regrow(net, "1", "3x3 > 3x3", example_inputs=X, inplace=True)


def test_wrapped_models_are_refused() -> None:
    net = morph(resnet(), {"*.conv1": "3x3 > 1x1"}, example_inputs=X).model
    for verb, call in (
        ("regrow", lambda model, site: regrow(model, site, "3x3 > 3x3", example_inputs=X)),
        ("widen", lambda model, site: widen(model, site, example_inputs=X, blob="a")),
        ("deepen", lambda model, site: deepen(model, f"{site}.edges.s_a", example_inputs=X)),
        ("grow_kernel", lambda model, site: grow_kernel(model, f"{site}.edges.s_a", 5, example_inputs=X)),
    ):
        with pytest.raises(SiteError, match=f"already wrapped .torch.compile.: {verb} before wrapping"):
            call(torch.compile(net), "layer1.0.conv1")
    net.layer1[0] = torch.compile(net.layer1[0])
    with pytest.raises(SiteError, match="it is inside torch.compile"):
        regrow(net, "layer1.0.*conv1", "3x3 > 3x3", example_inputs=X)


class Plain(nn.Module):
    """Holds on to a layer outside its modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.held = [self.conv]

    def forward(self, x: Tensor) -> Tensor:
        return self.held[0](x)


def test_layers_that_are_held_elsewhere_are_refused() -> None:
    net = Plain()
    with left_alone(net), pytest.raises(SiteError, match="holds another reference to the layer"):
        grow_kernel(net, "conv", 5, example_inputs=X, inplace=True)


@pytest.mark.parametrize("inplace", [True, False])
def test_training_goes_on_after_each_operation(inplace: bool) -> None:
    """Optimizers are rebuilt after every operation: survivors keep their state, newborns join and learn."""
    net = morph(resnet(), {"layer*.shortcut": "0.5*id | 1x1 > 1x1"}, example_inputs=X).model.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    target = torch.tensor([0, 2])

    def step(model: nn.Module) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(X), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    for operation in (
        lambda model: grow_kernel(model, "layer*.shortcut.edges.s_a", 3, example_inputs=X, inplace=inplace),
        lambda model: deepen(model, "layer*.shortcut.edges.s_t", example_inputs=X, inplace=inplace),
        lambda model: widen(model, "layer*.shortcut", "2x", blob="a", example_inputs=X, inplace=inplace),
        lambda model: deepen(model, "layer2.0.conv1", example_inputs=X, inplace=inplace),
        lambda model: widen(model, "layer1.0.conv1", example_inputs=X, inplace=inplace),
    ):
        step(net)
        moments = states(net, optimizer)
        with torch.no_grad():
            before = F.cross_entropy(net(X), target).item()
        result = operation(net)
        rebuilt = rebuild_optimizer(result, optimizer)
        assert rebuilt.joined
        assert (result.model is net) == inplace
        net = result.model
        now = states(net, optimizer)
        assert len(rebuilt.kept) > 20
        assert all(equal(moments[name], now[name]) for name in rebuilt.kept)
        assert not now.keys() & set(rebuilt.joined)
        assert step(net) == pytest.approx(before, rel=1e-5, abs=1e-5)
        parameters = dict(net.named_parameters())
        assert all(parameters[name].grad.any() for name in rebuilt.joined)
        assert {id(p) for group in optimizer.param_groups for p in group["params"]} == set(map(id, net.parameters()))
    assert len(result.history) == 6
    first = step(net)
    assert min(step(net) for _ in range(20)) < first
    assert step(net) < first


def test_calibration_fills_new_norms() -> None:
    net = shaken(morph(resnet(), {"layer1.0.conv1": "3x3 > 1x1"}, example_inputs=X).model)
    result = deepen(net, "layer1.0.conv1.edges.a_t", example_inputs=X, norm="calibrated", calibration=[X, X.flip(0)])
    norms = result.model.layer1[0].conv1.norms
    assert sorted(norms) == ["a_b", "b_t"]
    assert float((norms["b_t"].running_var - 1).abs().min()) > 1e-3
    assert gap(net, result.model, X) < 1e-6
    assert result.parity.sites[0].exact
    assert [edge.norm for edge in result.sites[0].graph.edges] == [None, "calibrated", "calibrated"]
