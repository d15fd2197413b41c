from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.surgery.growing import gap, pictures, replays, resnet, shaken
from tests.surgery.networks import left_alone
from torch import nn

from netmorph.errors import GraphError, NetmorphError, SiteError
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph

X = pictures(channels=4)
PLAIN = nn.Conv2d(4, 4, 3, padding=1)


def morphed(graph: str | ModuleGraph, layer: nn.Module = PLAIN, x: torch.Tensor = X, **options: object) -> nn.Module:
    return shaken(morph(nn.Sequential(layer), {"0": graph}, example_inputs=x, seed=1, **options).model, 2)


@pytest.mark.parametrize(
    ("graph", "blob", "width", "after"),
    [
        ("3x3 > 1x1", "a", "2x", "3x3:2x > 1x1"),
        ("3x3 > 1x1", "a", 7, "3x3:7 > 1x1"),
        ("3x3:2x > 1x1", "a", "1.5x", "3x3:3x > 1x1"),
        ("3x3:8 > 1x1", "a", "1.5x", "3x3:12 > 1x1"),
        ("3x3:1.3x > 1x1", "a", "1.3x", "3x3:7 > 1x1"),  # 5, then 6.5 rounded: 1.3x * 7/5 is no short factor, 1.82x is
        ("(3x3 | 1x1) > (3x3 | 5x5) | 3x3", "a", "3x", "(3x3 | 1x1):3x > (3x3 | 5x5) | 3x3"),
        ("3x3 > 1x1 > 3x3", "b", 9, "3x3 > 1x1:9 > 3x3"),
        ("1x1:2x > 3x3*dw:2x > 1x1 | 3x3", "b", "2x", "1x1:4x > 3x3*dw:4x > 1x1 | 3x3"),
        ("1x1:2x > 3x3*dw:2x > 1x1 | 3x3", "a", "2x", "1x1:4x > 3x3*dw:4x > 1x1 | 3x3"),
        ("1x1:8 > 3x3*8:8 > 1x1 | 3x3", "a", 10, "1x1:10 > 3x3*10:10 > 1x1 | 3x3"),
        ("1x1 > 3x3*dw:2x > 1x1 | 3x3", "a", "2x", "1x1:2x > 3x3*dw:4x > 1x1 | 3x3"),
        ("1x1 > id > avg3x3 > 1x1 | 3x3", "b", "2x", "1x1:2x > id:2x > avg3x3:2x > 1x1 | 3x3"),
        ("1x1:1 > id:1 > 1x1 | 3x3", "b", 3, "1x1:3 > id:3 > 1x1 | 3x3"),
        ("s-a:3x3, s-b:1x1, a-c:id, b-c:3x3*dw, c-t:1x1, a-t:3x3", "b", "2x", None),
    ],
)
def test_blobs(graph: str, blob: str, width: int | str, after: str | None, tmp_path: Path) -> None:
    net = morphed(graph, act="silu")
    with left_alone(net):
        result = widen(net, "0", width, blob=blob, example_inputs=X, seed=4)
    assert gap(net, result.model, X) < 1e-6
    assert result.parity.sites[0].exact
    if after is not None:
        assert result.sites[0].layout.widths == morphed(after)[0].layout.widths
    replays(result.model, nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), tmp_path, X)


def test_a_factor_stays_a_factor() -> None:
    assert widen(morphed("3x3 > 1x1"), "0", "2x", blob="a", example_inputs=X).sites[0].graph == parse("3x3:2x > 1x1")
    assert widen(morphed("3x3 > 1x1"), "0", 8, blob="a", example_inputs=X).sites[0].graph == parse("3x3:8 > 1x1")
    odd = widen(morphed("3x3:1/3x > 1x1 | 3x3"), "0", "2x", blob="a", example_inputs=X).sites[0]
    assert odd.layout.widths["a"] == 2


@pytest.mark.parametrize("norm", ["neutral", "group", "layer"])
def test_norms(norm: str, tmp_path: Path) -> None:
    net = morphed("3x3 > 1x1 > 1x1", norm=norm)
    for name, parameter in net.named_parameters():
        if name.endswith("slope") and norm == "group":
            parameter.data.fill_(1)
    result = widen(net, "0", "2x", blob="a", example_inputs=X)
    assert gap(net, result.model, X) < 1e-6
    if norm == "neutral":
        assert gap(net, result.model, X, train=True) < 1e-6
        assert result.model[0].norms["s_a"].running_mean.shape == (8,)
        assert result.model[0].norms["s_a"].num_batches_tracked == 3
    replays(result.model, nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), tmp_path, X)


def test_norms_over_several_channels() -> None:
    net = morphed("3x3 > 1x1", norm="group")
    with pytest.raises(GraphError, match="BlendedGroupNorm of edge 's_a' normalises over several channels"):
        widen(net, "0", "2x", blob="a", example_inputs=X)
    net = morphed("3x3 > 1x1", norm="layer")
    with pytest.raises(GraphError, match="BlendedLayerNorm of edge 's_a'.*widen by a whole factor"):
        widen(net, "0", "1.5x", blob="a", example_inputs=X)


@pytest.mark.parametrize(
    ("graph", "blob", "width", "error", "message"),
    [
        ("3x3 > 1x1", "b", "2x", SiteError, "blob 'b' cannot be widened: it has no such blob.*inner blobs are 'a'"),
        ("3x3 > 1x1", "t", "2x", SiteError, "the network determines the widths of source and sink"),
        ("3x3", "t", "2x", SiteError, "deepen one of its edges first"),
        ("3x3 > 1x1", "a", 4, SiteError, "blob 'a' must become wider"),
        ("3x3 > id | 3x3", "a", "2x", GraphError, "blob 'a' is tied to 't' by edge 'a_t'"),
        ("1x1*dw > 1x1 | 3x3", "a", "2x", GraphError, "blob 'a' is tied to 's' by edge 's_a'"),
        ("3x3:8 > 1x1*4:8 > 1x1", "b", "2x", GraphError, "edge 'a_b' has groups of several channels"),
        ("1x1 > 3x3*dw:2x > 1x1 | 3x3", "b", "2x", GraphError, "edge 'a_b' has groups of several channels"),
    ],
)
def test_refusals(graph: str, blob: str, width: object, error: type[NetmorphError], message: str) -> None:
    net = morphed(graph)
    with left_alone(net), pytest.raises(error, match=message) as caught:
        widen(net, "0", width, blob=blob, example_inputs=X, inplace=True)
    assert caught.value.site == "0"


def test_an_edge_that_was_morphed_itself() -> None:
    net = morphed("3x3 > 1x1 > 1x1")
    net = morph(net, {"0.edges.a_b": "1x1 | 1x1"}, example_inputs=X).model
    with pytest.raises(GraphError, match="edge 'a_b' was morphed itself"):
        widen(net, "0", "2x", blob="a", example_inputs=X)
    inner = morph(net, {"0.edges.b_t": "1x1 > 1x1"}, example_inputs=X).model
    result = widen(inner, "0.edges.b_t", "2x", blob="a", example_inputs=X)
    assert gap(net, result.model, X) < 1e-6


def test_blobs_of_many_modules_at_once() -> None:
    net = morph(resnet(), {"*.conv1": "3x3 > 1x1", "*.shortcut": "id | 1x1 > 1x1"}, example_inputs=pictures()).model
    shaken(net)
    result = widen(net, "layer*", "2x", blob="a", example_inputs=pictures())
    assert len(result.sites) == 4
    assert gap(net, result.model, pictures()) < 1e-6
    with pytest.raises(SiteError, match="it is a plain layer and has no blob 'a'"):
        widen(net, "layer1.0.conv2", "2x", blob="a", example_inputs=pictures())
    with pytest.raises(SiteError, match="it is a morphed module, whose output.*blob='a' of 'a'"):
        widen(net, "layer1.0.conv1", "2x", example_inputs=pictures())


def test_linear_sites_and_halos() -> None:
    tokens = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    net = morphed("1 > 1*dw > 1 | 1", nn.Linear(6, 3), tokens, norm="neutral")
    result = widen(net, "0", 5, blob="b", example_inputs=tokens)
    assert gap(net, result.model, tokens) < 1e-6
    net = morphed("3x3:6x > 3x3", fill="dense")
    result = widen(net, "0", "1.5x", blob="a", example_inputs=X)
    assert gap(net, result.model, X) < 1e-6


def test_copies_go_apart() -> None:
    """The gradients of a channel and its copy differ, so that training breaks the symmetry."""
    net = morphed("3x3 > 3x3")
    result = widen(net, "0", "2x", blob="a", example_inputs=X)
    module = result.model[0]
    weight = module.edges["s_a"].weight
    assert torch.equal(weight[:4], weight[4:])
    result.model(X).square().mean().backward()
    for parameter in module.parameters():
        assert bool((parameter.grad != 0).all())
    for parameter in (weight, module.acts["a"].weight):
        one, other = parameter.grad[:4], parameter.grad[4:]
        assert float((one - other).abs().flatten(1).amax(1).min() if one.dim() > 1 else (one - other).abs().min()) > 0
    directions = [part.flatten(1) / part.flatten(1).norm(dim=1, keepdim=True) for part in weight.grad.split(4)]
    assert float((directions[0] * directions[1]).sum(1).max()) < 0.9999
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.sub_(0.1 * parameter.grad)
    assert not any(torch.equal(weight[i], weight[i + 4]) for i in range(4))


def test_flags_modes_and_types() -> None:
    net = morphed("3x3 > 1x1", norm="neutral").double()
    net[0].norms["s_a"].eval()
    net[0].norms["s_a"].weight.requires_grad_(False)
    net[0].acts["a"].weight.requires_grad_(False)
    net[0].edges["s_a"].weight.requires_grad_(False)
    net[0].bias.requires_grad_(False)
    bias, last = net[0].bias, net[0].norms["a_t"]
    result = widen(net, "0", "2x", blob="a", example_inputs=X.double(), inplace=True)
    module = result.model[0]
    assert result.model is net
    assert module.bias is bias
    assert module.norms["a_t"] is last
    wanted = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    assert {name for name, flag in wanted.items() if not flag} == {
        "bias",
        "edges.s_a.weight",
        "norms.s_a.weight",
        "acts.a.weight",
    }
    assert (module.training, module.norms["s_a"].training, module.norms["a_t"].training) == (True, False, True)
    assert all(p.dtype == torch.float64 for p in module.parameters())
    assert result.parity.sites[0].max_rel < 1e-10


@given(st.integers(1, 9), st.integers(1, 7), st.sampled_from(["relu", "gelu", None]), st.integers(0, 3))
@settings(max_examples=20)
def test_any_width_is_exact(width: int, more: int, act: str | None, seed: int) -> None:
    net = morphed(f"3x3:{width} > 1x1:{width} > 3x3 | 3x3", act=act).double()
    result = widen(net, "0", width + more, blob="a", example_inputs=X.double(), seed=seed, noise=0.3)
    assert result.parity.sites[0].max_rel < 1e-12
    assert result.sites[0].layout.widths["a"] == width + more
