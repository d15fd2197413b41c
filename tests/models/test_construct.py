import pytest
import torch
from tests.models.shaken import shaken
from torch import nn

from netmorph.models.opening import load
from netmorph.models.paper import grow, parse_net
from netmorph.models.registry import build
from netmorph.models.scratch import reborn
from netmorph.surgery.records.checkpoint import save

X = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["1c1_half", "3c1", "1c1_2branch_half", "3c3_2branch"])
def test_the_architecture_is_that_of_a_morphed_parent(name):
    net = parse_net(f"morph20_{name}")
    born = build(f"netmorph:{net.name}", width=4)
    grown = grow(build("netmorph:resnet20", width=4), "resnet20", net.name, example_inputs=X, calibration=[X]).model
    for place in net.places:
        one, other = (model.get_submodule(place.name) for model in (born, grown))
        assert one.layout == other.layout
        assert str(one) == str(other)
    fresh, again = born.state_dict(), reborn(grown, 0).state_dict()
    assert fresh.keys() == again.keys()
    assert all(value.equal(again[key]) for key, value in fresh.items())


def test_nothing_is_as_an_identity_at_birth():
    shortcut = build("netmorph:morph14_1c1", width=4).layer1[1].shortcut
    assert all(act.weight.eq(0).all() for act in shortcut.acts.children())
    assert all(norm.weight.eq(1).all() and norm.bias.eq(0).all() for norm in shortcut.norms.children())
    assert len(list(shortcut.norms.children())) == 2


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_the_shortcut_is_scaled_as_asked(scale):
    shortcut = build("netmorph:morph14_1c1", width=4, shortcut_scale=scale).eval().layer1[1].shortcut
    for edge in shortcut.edges.children():
        if isinstance(edge, nn.Conv2d):
            nn.init.zeros_(edge.weight)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(shortcut(x), scale * x)


def test_two_branches_leave_no_identity_unless_it_stays_whole():
    graphs = [
        str(build("netmorph:morph14_1c1_2branch", width=4, shortcut_scale=scale).layer1[1].shortcut.layout.graph)
        for scale in (0.5, 1.0)
    ]
    assert graphs == ["1x1 > 1x1 | 1x1 > 1x1", "id | 1x1 > 1x1 | 1x1 > 1x1"]


def test_the_seed_alone_decides_the_weights():
    one, same, other = (build("netmorph:morph14_1c1", width=4, seed=seed) for seed in (1, 1, 2))
    weights = [model.layer1[1].shortcut.edges.s_a.weight for model in (one, same, other)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])
    assert one.conv1.weight.equal(same.conv1.weight)


def test_the_global_generator_is_left_alone():
    state = torch.random.get_rng_state()
    build("netmorph:morph14_1c1", width=4)
    assert torch.random.get_rng_state().equal(state)


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_it_is_saved_and_read_again(scale, tmp_path):
    model = shaken(build("netmorph:morph14_3c1", num_classes=4, width=4, shortcut_scale=scale), 1).eval()
    save(model, tmp_path / "net")
    again = load(tmp_path / "net").eval()
    with torch.no_grad():
        assert again(X).equal(model(X))


def test_it_grows_as_a_morphed_one():
    model = shaken(build("netmorph:morph14_1c1", width=4).double(), 1)
    grown = grow(model, "morph14_1c1", "morph14_3c1_2branch", example_inputs=X.double(), calibration=[X.double()])
    assert grown.max_rel <= 1e-10


def test_imagenet():
    model = build("netmorph:morph18_1c1", num_classes=3, width=4)
    assert model(torch.zeros(2, 3, 40, 40)).shape == (2, 3)
    assert len(model.layer4[1].shortcut.norms) == 2
