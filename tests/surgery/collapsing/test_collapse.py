"""The verb: what becomes one layer again, what stays and why, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.nn.problems import close
from tests.nn.samples import build, noise
from tests.surgery.networks import images, left_alone, seeded, small
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import netmorph
from netmorph.errors import SiteError
from netmorph.filters import ConvSpec
from netmorph.graph.cuts import source_cut
from netmorph.graph.layout import lay_out
from netmorph.graph.notation import parse
from netmorph.nn import MorphedModule
from netmorph.surgery.collapsing.collapse import CollapseResult, collapse
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer
from netmorph.surgery.records.history import history_of

CONV = {"": "3x3 > 1x1 | 1x1"}


def conv(*args: Any, seed: int = 0, dtype: torch.dtype = torch.float64, **options: Any) -> nn.Module:
    return seeded(nn.Conv2d(*args, **options), seed).to(dtype)


def signal(channels: int = 4, *sizes: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return noise(2, channels, *(sizes or (9, 7)), dtype=torch.float64).to(dtype)


def child_of(layer: nn.Module, graph: str, *, act: str | None = None, **options: Any) -> nn.Module:
    like = next(layer.parameters())
    x = signal(like.shape[1] * getattr(layer, "groups", 1), dtype=like.dtype)
    return morph(layer, {"": graph}, example_inputs=x, act=act, **options).model


def trained(module: nn.Module, channels: int = 4, steps: int = 3) -> nn.Module:
    """Take a few steps of gradient descent on noise, in train mode; return in eval mode."""
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    module.train()
    dtype = next(module.parameters()).dtype
    for seed in range(steps):
        x = noise(4, channels, 8, 9, seed=seed, dtype=torch.float64).to(dtype)
        optimizer.zero_grad()
        (module(x) - 0.3).square().mean().backward()
        optimizer.step()
    return module.eval()


def only(result: CollapseResult) -> str:
    """The one reason for which nothing was collapsed."""
    assert not result.collapsed
    (why,) = result.kept.values()
    return why


# ---- back to what it was


def test_a_network_is_again_what_it_was() -> None:
    parent = small().double()
    x = images(dtype=torch.float64)
    mapping = {"*.conv1": "module_d", "stem": "3x3 > 1x1 | 1x1", "*.shortcut": "morph_1c1", "fc": "1:2x > 1"}
    child = morph(parent, mapping, example_inputs=x, calibration=[images(8, dtype=torch.float64)], seed=3).model
    result = collapse(child, x)
    assert [site.name for site in result.collapsed] == [
        "stem",
        "blocks.0.conv1",
        "blocks.0.shortcut",
        "blocks.1.conv1",
        "blocks.1.shortcut",
        "fc",
    ]
    assert str(result.model) == str(parent)
    assert result.kept == {}
    assert history_of(result.model) == ()
    own, back = parent.state_dict(), result.model.state_dict()
    assert list(own) == list(back)
    for key, value in own.items():
        close(back[key].double(), value.double(), 1e-10)
    assert result.parity is not None
    assert result.parity.exact
    assert len(result.parity.sites) == 6
    assert result.cost is not None
    assert result.cost.after.params == sum(p.numel() for p in parent.parameters())
    assert result.cost.before.macs > result.cost.after.macs
    assert isinstance(child.stem, MorphedModule)  # a copy was collapsed


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("fill", ["pointwise", "dense"])
def test_every_dtype(dtype: torch.dtype, fill: str) -> None:
    parent = conv(4, 6, 3, padding=1, dtype=dtype)
    child = child_of(parent, "3x3:2x > 3x3 | 1x1", fill=fill, check=False)
    result = collapse(child)
    back = result.model
    assert not result.kept
    assert str(back) == str(parent)
    assert back.weight.dtype is dtype
    scale = float(parent.weight.detach().abs().max())
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-6}.get(dtype, 4 * torch.finfo(dtype).eps)
    assert float((back.weight - parent.weight).detach().abs().max()) <= tolerance * scale
    assert torch.equal(back.bias, parent.bias)
    assert result.collapsed[0].parity.dtype is dtype
    assert result.collapsed[0].parity.max_rel <= result.collapsed[0].parity.tolerance


@pytest.mark.parametrize(
    "parent",
    [
        conv(4, 6, 3, stride=2, padding=1, bias=False),
        conv(4, 8, 3, groups=4, padding=(0, 2)),
        conv(4, 6, (3, 1), dilation=2, padding=1),
        conv(4, 6, 5, padding=2, padding_mode="reflect"),
        conv(4, 6, 3, padding=1, padding_mode="circular", stride=2),
    ],
    ids=str,
)
def test_the_geometry_is_kept(parent: nn.Module) -> None:
    back = collapse(child_of(parent, "5x5 > 1x1 | 3x3", keep_parent=True)).model
    assert str(back) == str(parent)
    close(back(signal()), parent(signal()), 1e-10)


def test_slopes_at_one_are_no_obstacle_and_graphs_with_edges_of_their_own_neither() -> None:
    parent = conv(4, 4, 3, padding=1)
    for act, graph in (("auto", "3x3 > 1x1 | id"), ("gelu", "3x3 > 3x3*dw | 0.5*id > 1x1")):
        back = collapse(child_of(parent, graph, act=act)).model
        close(back.weight, parent.weight, 1e-10)


def test_in_place_and_at_the_root() -> None:
    child = morph(small(), {"stem": "3x3 > 1x1"}, example_inputs=images()).model
    assert collapse(child, inplace=True).model is child
    assert type(child.stem) is nn.Conv2d
    bare = child_of(conv(4, 6, 3), "3x3 > 1x1")
    with pytest.raises(SiteError, match="cannot be replaced in place"):
        collapse(bare, inplace=True)
    assert type(collapse(bare).model) is nn.Conv2d


def test_the_model_is_left_alone() -> None:
    child = morph(small(), {"*.conv1": "module_d", "fc": "1 > 1"}, example_inputs=images()).model.train()
    with left_alone(child):
        collapse(child, images())
    plain = small()
    result = collapse(plain)
    assert (result.collapsed, result.kept, str(result)) == ((), {}, "there is no morphed module")
    assert result.model is not plain


def test_what_is_not_function_is_handed_on() -> None:
    parent = small().to(memory_format=torch.channels_last)
    child = morph(parent, {"stem": "3x3 > 3x3:2x > 1x1", "fc": "1 > 1"}, example_inputs=images()).model.train()
    child.stem.requires_grad_(False)
    seen: list[int] = []
    child.stem.register_forward_hook(lambda *_: seen.append(1))
    back = collapse(child).model
    assert back.stem.weight.is_contiguous(memory_format=torch.channels_last)
    assert back.stem.training
    assert [p.requires_grad for p in back.stem.parameters()] == [False, False]
    assert all(p.requires_grad for p in back.fc.parameters())
    back(images())
    assert seen == [1]


def test_a_shared_module_is_collapsed_once() -> None:
    child = child_of(conv(4, 4, 3, padding=1), "3x3 > 1x1")
    twice = nn.Sequential(nn.Sequential(child, nn.ReLU()), child)
    result = collapse(twice)
    assert len(result.collapsed) == 1
    assert result.model[0][0] is result.model[1]
    close(result.model(signal()), twice(signal()), 1e-10)


# ---- after training


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("graph", ["3x3 > 1x1 | 1x1", "1x1:2x > 3x3:2x > 1x1", "1x3:3x > 3x1"])
def test_morph_without_activations_train_collapse(graph: str, dtype: torch.dtype, tolerance: float) -> None:
    parent = conv(4, 6, 3, padding=1, dtype=dtype)
    child = trained(child_of(parent, graph))
    result = collapse(child)
    assert not result.kept
    assert str(result.model) == str(parent)  # the same layer at inference ...
    x = signal(dtype=dtype)
    gap = float((result.model(x) - child(x)).detach().abs().max() / child(x).detach().abs().max())
    assert gap <= tolerance  # ... with what was learned
    assert float((result.model(x) - parent(x)).detach().abs().max()) > 1e-3


def test_a_trained_module_grows_and_its_border_says_no() -> None:
    child = trained(child_of(conv(4, 6, 3, padding=1), "3x3 > 3x3"))
    why = only(collapse(child))
    assert why.startswith("border error ")
    assert "edges 's_a' and 'a_t' are in series and both have more than one tap" in why
    error = float(why.split()[2])
    assert 1e-3 < error < 1
    result = collapse(child, approximate=True)
    layer = result.model
    assert (layer.kernel_size, layer.padding) == ((5, 5), (2, 2))
    assert result.collapsed[0].parity.max_rel == pytest.approx(error, rel=0.05)
    x = signal(4, 12, 13)
    close(layer(x)[..., 2:-2, 2:-2], child(x)[..., 2:-2, 2:-2], 1e-10)
    assert collapse(child, tolerance=1.1 * error).collapsed
    assert collapse(child, tolerance=0.9 * error).kept


@pytest.mark.parametrize("stride", [1, 2])
def test_under_halo_a_trained_module_becomes_a_larger_kernel_exactly(stride: int) -> None:
    child = trained(child_of(conv(4, 6, 3, padding=1, stride=stride), "3x3:4x > 3x3", fill="dense"))
    layer = collapse(child).model
    assert layer.kernel_size in ((5, 5), (7, 7))
    assert layer.kernel_size[0] == 2 * layer.padding[0] + 1
    close(layer(signal()), child(signal()), 1e-10)


def test_an_even_kernel_that_grows_is_padded_with_zeros() -> None:
    child = trained(child_of(conv(4, 6, 2, bias=False), "2x2:4x > 2x2", fill="dense"))
    layer = collapse(child).model
    close(layer(signal()), child(signal()), 1e-10)
    assert isinstance(layer.padding, tuple)


def test_a_grouped_layer_becomes_dense_where_training_joined_its_groups() -> None:
    parent = conv(4, 8, 3, groups=4, padding=1)
    joined, apart = child_of(parent, "3x3 > 1x1"), child_of(parent, "3x3*2 > 1x1*2")
    assert collapse(joined).model.groups == 4
    for child, groups in ((trained(joined), 1), (trained(apart), 2)):
        layer = collapse(child).model
        assert layer.groups == groups
        close(layer(signal()), child(signal()), 1e-10)


def test_an_identity_becomes_a_convolution_where_it_has_learned() -> None:
    parent = small().double()
    x = images(dtype=torch.float64)
    child = morph(parent, {"*.0.shortcut": "1x1 > 1x1", "*.1.shortcut": "3x3*dw | 0.5*id"}, example_inputs=x, act=None)
    before = collapse(child.model, x)
    assert [str(site.layer) for site in before.collapsed] == ["identity", "identity"]
    model = trained(child.model, 3)
    back = collapse(model, x).model
    assert back.blocks[0].shortcut.kernel_size == (1, 1)
    assert back.blocks[1].shortcut.kernel_size == (3, 3)
    assert back.blocks[1].shortcut.groups == 8
    close(back(x), model(x), 1e-10)


def test_an_identity_that_learned_to_shift() -> None:
    child = morph(small().double(), {"*.0.shortcut": "3x3 > 1x1"}, example_inputs=images(dtype=torch.float64)).model
    with torch.no_grad():
        taps = child.blocks[0].shortcut.edges["s_a"].weight
        taps[..., 0, 0] = taps[..., 1, 1].clone()
        taps[..., 1, 1] = 0
    layer = collapse(child).model.blocks[0].shortcut
    x = signal(8)
    close(layer(x)[..., 1:, 1:], x[..., :-1, :-1], 1e-10)


def test_an_identity_of_tokens_becomes_a_linear_layer() -> None:
    parent = nn.Sequential(nn.Linear(4, 4), nn.Identity()).double()
    child = morph(parent, {"1": "1 > 1"}, example_inputs=noise(3, 4, dtype=torch.float64), act=None).model
    assert type(collapse(child).model[1]) is nn.Identity
    with torch.no_grad():
        child[1].edges["s_a"].weight.mul_(2)
    back = collapse(child).model
    close(back[1].weight, 2 * torch.eye(4, dtype=torch.float64), 1e-10)


# ---- norms


def test_a_norm_behind_the_taps_becomes_a_bias() -> None:
    parent = conv(4, 6, 3, padding=1, bias=False)
    child = trained(child_of(parent, "3x3 > 1x1 | 1x1", norm="neutral"))
    result = collapse(child)
    assert result.model.bias is not None
    assert result.collapsed[0].layer.bias
    close(result.model(signal()), child(signal()), 1e-10)
    close(
        collapse(child.train()).model(signal()), child.eval()(signal()), 1e-10
    )  # the eval function, in train mode too


def test_a_constant_before_the_taps_meets_the_zero_padding() -> None:
    child = trained(child_of(conv(4, 6, 3, padding=1), "1x1 > 3x3", norm="neutral"))
    why = only(collapse(child))
    assert "the constant that edge 's_a' adds meets the zero padding of edge 'a_t'" in why
    unpadded = trained(child_of(conv(4, 6, 3), "1x1 > 3x3", norm="neutral"))
    close(collapse(unpadded).model(signal()), unpadded(signal()), 1e-10)


def test_padding_modes_are_kept_while_the_filter_fits_them() -> None:
    child = trained(child_of(conv(4, 6, 3, padding=1, padding_mode="reflect"), "3x3 > 1x1"))
    layer = collapse(child).model
    assert layer.padding_mode == "reflect"
    close(layer(signal()), child(signal()), 1e-10)
    child = trained(child_of(conv(4, 6, 3, padding=1, padding_mode="reflect"), "1x1 | 3x3 > 1x1 > 3x3"))
    assert "both have more than one tap" in only(collapse(child))


def test_a_border_that_no_layer_has() -> None:
    """One tap in the middle of an unpadded 2x2 crops what the 2x2 behind it would have read."""
    graph = parse("1 > 2")
    site = ConvSpec(4, 4, (2, 2))
    layout = lay_out(graph, site, [source_cut(graph)] * 2, source_cut(graph))
    net = MorphedModule(layout, act=None, dtype=torch.float64)
    why = only(collapse(net))
    assert why.startswith("border error ")
    assert "no layer pads as the module does" in why


# ---- modules within modules


def test_nested_modules_collapse_with_the_outer_one() -> None:
    parent = conv(4, 6, 3, padding=1)
    child = child_of(parent, "3x3 > 1x1 | 1x1")
    child = morph(
        child, {"edges.s_a": "3x3 > 1x1", "edges.a_t": "1x1 > 1x1"}, example_inputs=signal(), norm="neutral", act=None
    )
    result = collapse(child.model)
    assert [site.name for site in result.collapsed] == [""]
    close(result.model.weight, parent.weight, 1e-10)
    assert history_of(result.model) == ()
    model = trained(child.model)
    result = collapse(model)
    assert str(result.model) == str(parent)
    close(result.model(signal()), model(signal()), 1e-10)


@pytest.mark.parametrize("border", ["zeros", "halo"])
def test_a_nested_module_is_collapsed_where_the_outer_one_stays(border: str) -> None:
    fill = "dense" if border == "halo" else "pointwise"
    child = child_of(conv(4, 6, 3, padding=1), "3x3 > 1x1", act="relu", fill=fill)
    child = morph(child, {"edges.s_a": "3x3:4x > 3x3"}, example_inputs=signal(), act=None, fill="dense").model
    with torch.no_grad():
        child.edges["s_a"].edges["a_t"].weight.add_(0.1)  # the edge is now a 5x5
        child.acts["a"].weight[2] = 0.5
    result = collapse(child)
    assert [site.name for site in result.collapsed] == ["edges.s_a"]
    assert result.kept[""] == (
        "the activation of blob 'a' is not the identity: its slopes range from 0.5 to 1, all must be 1"
    )
    assert type(result.model) is MorphedModule
    assert result.model.edges["s_a"].kernel_size == (5, 5)
    close(result.model(signal()), child(signal()), 1e-10)
    with torch.no_grad():
        result.model.acts["a"].weight.fill_(1)
        child.acts["a"].weight.fill_(1)
    again = collapse(result.model)
    assert again.model.kernel_size == (5, 5)
    close(again.model(signal()), child(signal()), 1e-10)


# ---- what stays, and why


def _slope(net: MorphedModule) -> None:
    net.acts["a"].weight.data[0] = 0.25


def _blend(net: MorphedModule) -> None:
    net.norms["s_a"].slope.data.zero_()


def _hook(net: MorphedModule) -> None:
    net.edges["a_t"].register_forward_hook(lambda *_: None)


def _nan(net: MorphedModule) -> None:
    net.edges["s_a"].weight.data[0, 0, 0, 0] = torch.nan


def _batch_statistics(net: MorphedModule) -> None:
    net.norms.set_submodule("s_a", nn.BatchNorm2d(6, track_running_stats=False))


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (_slope, {}, "the activation of blob 'a' is not the identity: its slopes range from 0.25 to 1, all must be 1"),
        (_slope, {"act": "gelu"}, "the activation of blob 'a' is not the identity"),
        (_blend, {"norm": "group"}, "the norm of edge 's_a' is not the identity: its slopes range from 0 to 0"),
        (_blend, {"norm": "layer"}, "the norm of edge 's_a' is not the identity"),
        (_batch_statistics, {"norm": "neutral"}, "the norm of edge 's_a' takes its statistics from each batch"),
        (_hook, {}, "a hook on its part 'edges.a_t' would be lost"),
        (_nan, {}, "its edges.s_a.weight contains NaN or infinite values"),
        (lambda net: net.to("meta"), {}, "its bias is on the meta device and has no values"),
        (lambda net: net.acts.set_submodule("a", nn.GELU()), {}, "the activation of blob 'a' is now a GELU"),
        (
            lambda net: net.norms.set_submodule("s_a", nn.InstanceNorm2d(6)),
            {"norm": "neutral"},
            "the norm of edge 's_a' is now a InstanceNorm2d",
        ),
        (lambda net: net.edges.set_submodule("a_t", nn.Dropout()), {}, "edge 'a_t' is now a Dropout"),
    ],
)
def test_what_is_not_linear_stays(change: Callable[[Any], None], options: dict[str, Any], reason: str) -> None:
    net = build("3 > 1 | 1", bias=True, **options)
    change(net)
    assert only(collapse(net)).startswith(reason)


def test_what_a_nested_module_holds_is_named_by_its_path() -> None:
    child = morph(build("3 > 1", act=None), {"edges.a_t": "1 > 1"}, example_inputs=noise(1, 4, 5, 5)).model
    child.edges["a_t"].acts["a"].weight.data.zero_()
    result = collapse(child)
    assert result.kept[""].startswith("the activation of blob 'a_t.a' is not the identity")
    assert result.kept["edges.a_t"].startswith("the activation of blob 'a' is not the identity")
    assert str(result).startswith("(the model itself): kept, the activation of blob 'a_t.a'")


def test_identities_in_place_of_activations_and_norms_are_linear() -> None:
    net = build("3 > 1", norm="neutral")
    net.acts.set_submodule("a", nn.Identity())
    net.norms.set_submodule("s_a", nn.Identity())
    net.eval()
    x = noise(2, 4, 6, 6)
    torch.testing.assert_close(collapse(net).model(x), net(x))


def test_an_edge_may_have_a_bias_or_a_computed_weight() -> None:
    net = build("3 > 1", act=None, dtype=torch.float64)
    biased = nn.Conv2d(6, 6, 1, dtype=torch.float64)
    net.edges.set_submodule("a_t", biased)
    parametrizations.spectral_norm(net.edges["s_a"])
    net.eval()
    close(collapse(net).model(signal()), net(signal()), 1e-10)


def test_a_norm_without_affine_part_is_folded() -> None:
    net = build("3 > 1", act=None, norm="neutral", dtype=torch.float64)
    norm = nn.BatchNorm2d(6, affine=False, dtype=torch.float64)
    norm(noise(8, 6, 5, 5, dtype=torch.float64))
    net.norms.set_submodule("s_a", norm)
    net.eval()
    close(collapse(net).model(signal()), net(signal()), 1e-10)


def test_a_tied_weight_stays() -> None:
    net = nn.Sequential(build("3 > 1"), nn.Conv2d(6, 6, 1))
    net[1].weight = net[0].edges["a_t"].weight
    result = collapse(net)
    assert result.kept == {"0": "its edges.a_t.weight is tied to '1.weight'"}


def test_a_filter_beyond_the_range_of_half_precision_stays() -> None:
    net = build("3 > 1", act=None, dtype=torch.float16)
    with torch.no_grad():
        for edge in net.edges.children():
            edge.weight.fill_(1000.0)
    assert only(collapse(net)) == "its filter exceeds the range of float16"


def test_rounding_is_not_blamed_on_the_border() -> None:
    net = build("3 > 1", act=None, dtype=torch.bfloat16)
    why = only(collapse(net, tolerance=1e-6))
    assert why.startswith("rounding its filter to bfloat16 costs ")
    assert "(tolerance 1.0e-06)" in why


def test_wrapped_models_are_refused() -> None:
    with pytest.raises(SiteError, match="already wrapped .torch.compile.: collapse before wrapping"):
        collapse(torch.compile(build("3 > 1")))


def test_a_module_inside_a_wrapper_stays() -> None:
    net = nn.Sequential(torch.compile(build("3 > 1")), build("3 > 1"))
    result = collapse(net)
    assert list(result.kept.values()) == ["it is inside torch.compile: collapse before wrapping"]
    assert type(result.model[1]) is nn.Conv2d


@pytest.mark.parametrize("inplace", [False, True])
def test_an_optimizer_goes_along(inplace: bool) -> None:
    child = morph(small(), {"stem": "3x3 > 1x1", "fc": "1 > 1"}, example_inputs=images(), act=None).model
    optimizer = torch.optim.SGD(child.parameters(), lr=0.1, momentum=0.9)
    child(images(4)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    kept = optimizer.state[child.blocks[0].conv1.weight]["momentum_buffer"].clone()
    result = collapse(child, inplace=inplace)
    rebuilt = rebuild_optimizer(result, optimizer)
    assert set(rebuilt.joined) == {"stem.weight", "fc.weight"}
    model = result.model
    assert torch.equal(optimizer.state[model.blocks[0].conv1.weight]["momentum_buffer"], kept)
    before = model.stem.weight.detach().clone()
    model(images(4)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(before, model.stem.weight)


def test_a_model_that_cannot_be_copied() -> None:
    class Stubborn(nn.Module):
        def __deepcopy__(self, memo: object) -> nn.Module:
            raise RuntimeError("never")

    net = nn.Sequential(Stubborn(), build("3 > 1"))
    with pytest.raises(SiteError, match=r"cannot be copied: RuntimeError: never.*inplace=True"):
        collapse(net)
    assert type(collapse(net, inplace=True).model[1]) is nn.Conv2d


def test_measured_on_what_reaches_it() -> None:
    """Synthetic inputs are of unit size; a constant that matters little there may matter on the model's own."""
    child = child_of(conv(4, 6, 3, padding=1, bias=False), "1x1 > 3x3", norm="neutral")
    with torch.no_grad():
        child.norms["s_a"].bias.fill_(3e-11)
    assert not collapse(child).kept
    assert "border error" in only(collapse(child, 1e-3 * signal()))


def test_a_module_of_fixed_edges_takes_its_type_from_its_input() -> None:
    net = build("id | 0.5*id", 4, 4)
    x = signal()
    back = collapse(net, x).model
    assert back.weight.dtype is torch.float64
    close(back(x), 1.5 * x, 1e-12)


def test_it_says_what_it_did() -> None:
    child = morph(small(), {"stem": "3x3 > 1x1", "fc": "1 > 1"}, example_inputs=images()).model
    child.fc.acts["a"].weight.data.zero_()
    first, second = str(collapse(child)).splitlines()
    assert first.startswith("stem: '3x3 > 1x1' -> conv 3->8 kernel 3x3 stride 2x2 padding 1x1, difference ")
    assert second.startswith("fc: kept, the activation of blob 'a' is not the identity")


def test_it_is_public() -> None:
    assert netmorph.collapse is collapse
