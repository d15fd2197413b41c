import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.surgery.growing import gap, pictures, replays, resnet, shaken
from tests.surgery.networks import images, left_alone, small, state
from torch import nn

from netmorph.errors import GraphError, InfeasibleMorph, NetmorphError, ParityError, SiteError
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.layout import lay_out
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.nn import MorphedModule
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.edit.rebuild import Defaults
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.extend import extended
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.parity.site import SiteParity, site_parity

RGB = pictures()
X = pictures(channels=4)


def morphed(graph: str, layer: nn.Module | None = None, x: torch.Tensor | None = None, **options: object) -> nn.Module:
    """Return a network of one morphed layer, shaken: its slopes are no longer 1."""
    layer = nn.Conv2d(4, 4, 3, padding=1) if layer is None else layer
    net = nn.Sequential(layer)
    return shaken(morph(net, {"0": graph}, example_inputs=X if x is None else x, seed=1, **options).model, 2)


def check(result: Result, before: nn.Module, x: torch.Tensor) -> None:
    assert gap(before, result.model, x) < 1e-6  # weights are stored in float32
    assert all(site.exact for site in result.parity.sites)


def test_the_paths_of_the_paper(tmp_path: Path) -> None:
    """1c1 -> 3c1 -> 3c3 and 1c1 -> 1c1_2branch, with training in between, end where one morph would."""
    parent, one = resnet(), "layer*.shortcut"
    first = shaken(morph(parent, {one: "0.5*id | 1x1 > 1x1"}, example_inputs=RGB).model, 1)
    second = grow_kernel(first, f"{one}.edges.s_a", 3, example_inputs=RGB)
    check(second, first, RGB)
    trained = shaken(second.model, 2)
    third = grow_kernel(trained, f"{one}.edges.a_t", 3, example_inputs=RGB, seed=4)
    check(third, trained, RGB)
    direct = morph(parent, {one: "0.5*id | 3x3 > 3x3"}, example_inputs=RGB)
    assert third.cost.after == direct.cost.after
    assert third.sites[0].layout == direct.sites[0].layout
    assert [len(record.sites) for record in third.history] == [1, 1, 1]
    replays(third.model, resnet(), tmp_path, RGB)

    fourth = regrow(first, one, "1x1 > 1x1 | 1x1 > 1x1", example_inputs=RGB)
    check(fourth, first, RGB)
    direct = morph(parent, {one: "1x1 > 1x1 | 1x1 > 1x1"}, example_inputs=RGB)
    assert fourth.cost.after == direct.cost.after
    assert fourth.sites[0].layout == direct.sites[0].layout
    before, after = (net.layer1[0].shortcut.state_dict() for net in (first, fourth.model))
    assert all(torch.equal(value, after[key]) for key, value in before.items())  # what was there is as it was
    replays(fourth.model, resnet(), tmp_path, RGB)

    fifth = deepen(first, f"{one}.edges.s_t", example_inputs=RGB)
    check(fifth, first, RGB)
    assert fifth.cost.after == direct.cost.after
    assert str(fifth.sites[0].graph) == "s-b:1x1, b-t:1x1, s-a:1x1, a-t:1x1"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("3x3 > 1x1", "3x3 > 3x3"),
        ("3x3 > 1x1", "3x3 > 1x1 | 1x1"),
        ("3x3 > 1x1", "3x3 > 1x1 | 1x1 > 1x1 | 3x3"),
        ("3x3 > 1x1", "3x3 > 3x3 > 1x1"),
        ("3x3 > 1x1", "5x5:2x > 2x2:1.5x > 1x1"),
        ("3x3", "1x1 > 3x3"),
        ("3x3", "1x1 | 1x1 > 3x3"),
        ("3x3 | 1x1", "1x1 | 3x3"),
        ("3x3", "3x3 | avg3x3 > 1x1"),
        ("3x3*dw:1x > 1x1 | 3x3", "3x3*2 > 1x1 | 3x3"),
        ("3x3:8 > 1x1*4:8 > 1x1", "3x3:8 > 3x3*2:8 > 1x1"),
        ("s-a:3x3, a-t:1x1", "s-a:3x3, a-t:1x1, s-b:1x1, a-b:3x3, b-t:3x3"),
        ("s-a:3x3, a-t:1x1", "s-a:3x3, a-t:1x1, a-b:1x1, s-b:1x1, b-c:1x1, s-c:3x3, c-t:1x1, b-t:1x1"),
        ("s-a:3x3, a-t:1x1", "s-a:3x3, a-t:1x1, s-b:1x1, b-a:1x1"),
        ("s-a:3x3, s-b:3x3, a-c:3x3, b-c:1x1, a-t:1x1, c-t:1x1, b-t:1x1", "module_d"),
    ],
)
def test_larger_graphs(before: str, after: str, tmp_path: Path) -> None:
    if after == "module_d":
        after = before + ", s-t:1x1"
    net = morphed(before)
    with left_alone(net):
        result = regrow(net, "0", after, example_inputs=X, seed=3)
    check(result, net, X)
    assert result.sites[0].graph == parse(after)
    replays(result.model, nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), tmp_path, X)
    again = regrow(net, "0", after, example_inputs=X, seed=3).model.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in result.model.state_dict().items())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), (2, 3, 9, 8)),
        (nn.Conv2d(3, 4, 3, padding=2, dilation=2), (2, 3, 9, 8)),
        (nn.Conv2d(3, 4, (1, 3), stride=(1, 2)), (2, 3, 9, 8)),
        (nn.Conv2d(4, 4, 3, padding="same", padding_mode="reflect"), (2, 4, 9, 8)),
        (nn.Conv1d(3, 4, 3, padding=1), (2, 3, 9)),
        (nn.Conv3d(3, 4, 3, padding=1), (1, 3, 5, 4, 6)),
        (nn.Linear(3, 4), (2, 5, 3)),
        (nn.Identity(), (2, 4, 9, 8)),
    ],
    ids=str,
)
def test_every_kind_of_layer(layer: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    plain = getattr(layer, "kernel_size", (1,))
    one = "x".join(["1"] * len(plain)) if len(plain) > 1 else "1"
    more = "x".join(str(k + 2) for k in plain) if len(plain) > 1 else str(plain[0] + 2 * (plain != (1,)))
    first = "x".join(map(str, plain)) if len(plain) > 1 else str(plain[0])
    parent = nn.Sequential(copy.deepcopy(layer))
    net = morphed(f"{first} > {one}", layer, x)
    result = regrow(net, "0", f"{more}:2x > {one} | {one}:6 > {one}", example_inputs=x)
    check(result, net, x)
    replays(result.model, parent, tmp_path, x)


def test_within_a_halo() -> None:
    net = morphed("3x3:6x > 3x3", fill="dense")
    assert net[0].layout.border == "halo"
    for graph in ("5x5:8x > 3x3", "3x3:6x > 3x3 | 5x5", "3x3:6x > 3x3:6x > 3x3"):
        check(regrow(net, "0", graph, example_inputs=X), net, X)


def test_strides_by_name() -> None:
    layer = nn.Conv2d(4, 4, 3, stride=2, padding=1)
    unnamed = morphed("3x3 > 1x1", layer)
    with pytest.raises(GraphError, match="edge 's_a' cannot represent the current filter: its stride is another"):
        regrow(unnamed, "0", "3x3 > 1x1/2", example_inputs=X)
    net = morphed("3x3 > 3x3/2", layer)
    grown = regrow(net, "0", "3x3 > 5x5/2 | 1x1/2", example_inputs=X)
    check(grown, net, X)
    check(regrow(net, "0", "3x3 > 1x1 > 3x3/2", example_inputs=X), net, X)
    check(deepen(net, "0.edges.a_t", example_inputs=X), net, X)
    check(regrow(net, "0.edges.a_t", "1x1 > 3x3/2", example_inputs=X), net, X)
    with pytest.raises(GraphError, match="edge 'a_t' has a stride of 2 by name.*name the stride on an edge"):
        regrow(net, "0.edges.a_t", "1x1 > 3x3", example_inputs=X)
    with pytest.raises(InfeasibleMorph, match="between 'a' and 't', in place of a_t: .*keep the present edge"):
        regrow(net, "0", "s-a:3x3, a-b:1x1/2, b-t:3x3", example_inputs=X)


def test_dilations_by_name() -> None:
    net = morphed("3x3 > 3x3~2")
    result = deepen(net, "0.edges.a_t", example_inputs=X)
    check(result, net, X)
    assert str(result.sites[0].graph) == "3x3 > 3x3~2 > 1x1"
    with pytest.raises(
        GraphError, match="edge 'a_t' cannot represent the current filter: the filter's support is not on"
    ):
        regrow(net, "0", "3x3 > 3x3", example_inputs=X)


def test_an_edge_becomes_a_graph() -> None:
    net = morphed("3x3:6 > 1x1:8 > 1x1")
    result = regrow(net, "0.edges.a_b", "1x1:0.5x > 1x1 | 3x3", example_inputs=X)
    check(result, net, X)
    assert result.sites[0].graph.widths["c"].resolve(4) == 4  # half of the edge's own output
    result = regrow(net, "0.edges.b_t", "F=s-u:1x1, u-t:1x1", example_inputs=X)
    assert [edge.name for edge in result.sites[0].graph.edges] == ["s_a", "a_b", "F", "c_t"]
    graph = ModuleGraph.from_edges([("s", "m", 1), ("m", "t", 1)], activations={"m": "tanh"}, widths={"m": "2x"})
    result = regrow(net, "0.edges.b_t", graph, example_inputs=X)
    check(result, net, X)
    assert result.model[0].acts["c"].weight.shape == (8,)
    assert result.sites[0].graph.activations == {"c": "tanh"}


def test_several_edges_of_several_modules_at_once() -> None:
    net = morph(resnet(), {"*.conv1": "3x3 > 1x1", "*.shortcut": "id | 1x1 > 1x1"}, example_inputs=RGB).model
    shaken(net, 3)
    result = regrow(net, "layer1.0.*.edges.*_*", "1x1 | 3x3", example_inputs=RGB)
    check(result, net, RGB)
    assert [site.name for site in result.sites] == ["layer1.0.conv1", "layer1.0.shortcut"]
    assert len(result.sites[0].graph.edges) == 4
    assert len(result.sites[1].graph.edges) == 6


def test_blobs_become_wider_together() -> None:
    net = morphed("1x1:2x > 3x3*dw:2x > 1x1 | 3x3")
    result = regrow(net, "0", "1x1:4x > 5x5*dw:4x > 1x1 | 3x3", example_inputs=X)
    check(result, net, X)
    with pytest.raises(GraphError, match="blob 'b' is tied to others.*12 channels by the others, 16 requested"):
        regrow(net, "0", "1x1:3x > 3x3:4x > 1x1 | 3x3", example_inputs=X)


def test_edges_may_change_names() -> None:
    net = morphed("3x3 | 1x1", norm="neutral")
    result = regrow(net, "0", "1x1 | 3x3", example_inputs=X)
    check(result, net, X)
    assert torch.equal(result.model[0].edges["s_t_2"].weight, net[0].edges["s_t"].weight)
    assert torch.equal(result.model[0].norms["s_t_2"].weight, net[0].norms["s_t"].weight)
    inner = morph(net, {"0.edges.s_t": "1x1 > 3x3"}, example_inputs=X).model
    with pytest.raises(GraphError, match="edge 's_t' was morphed itself and stays as it is"):
        regrow(inner, "0", "1x1 | 3x3", example_inputs=X)


def test_three_edges_change_places() -> None:
    net = morphed("5x5 | 3x3 | 1x1 | 0.5*id")
    check(regrow(net, "0", "1x1 | 5x5 | 3x3 | 0.5*id", example_inputs=X), net, X)
    check(regrow(net, "0", "3x3 | 5x5 | 1x1 | 1x1", example_inputs=X), net, X)


def test_edges_without_weights_are_made_up_for() -> None:
    net = morphed("3x3 > 1x1 | 3x3")
    result = regrow(net, "0", "3x3 > 1x1 | 3x3 | id", example_inputs=X)
    check(result, net, X)
    eye = torch.eye(4)
    kept, grown = (each[0].edges["s_t"].weight[:, :, 1, 1] for each in (net, result.model))
    assert torch.allclose(grown, kept - eye, atol=1e-6)


def test_weights_must_be_finite() -> None:
    net = morphed("3x3 > 1x1")
    with torch.no_grad():
        net[0].edges["s_a"].weight[0, 0, 0, 0] = torch.inf
    graph = parse("5x5 > 1x1")
    with pytest.raises(GraphError, match="the weight of edge 's_a' contains NaN or infinite values"):
        extended(net[0], graph, Defaults("relu", None), seed=0, noise=0.5, like=X)


def test_a_morphed_edge_goes_on_inside() -> None:
    net = morphed("3x3 > 1x1")
    inner = shaken(morph(net, {"0.edges.a_t": "1x1 | 1x1"}, example_inputs=X).model, 5)
    for result in (
        regrow(inner, "0", "5x5 > 1x1 | 1x1", example_inputs=X),
        regrow(inner, "0.edges.a_t", "1x1 | 3x3", example_inputs=X),
    ):
        check(result, inner, X)
        assert isinstance(result.model[0].edges["a_t"], MorphedModule)
    with pytest.raises(GraphError, match="edge 'a_t' was morphed itself.*name the module inside, 'a_t'"):
        regrow(inner, "0", "3x3 > 3x3", example_inputs=X)
    with pytest.raises(GraphError, match="edge 'a_t' was morphed itself"):
        regrow(inner, "0", "s-a:3x3, F=a-t:1x1", example_inputs=X)
    with pytest.raises(SiteError, match="grow_kernel acts on.*is a morphed module.*name one of its edges"):
        grow_kernel(inner, "0.edges.a_t", 3, example_inputs=X)


def test_nested_modules_replay(tmp_path: Path) -> None:
    net = morphed("3x3 > 1x1")
    net = shaken(morph(net, {"0.edges.a_t": "1x1 | 1x1"}, example_inputs=X).model, 5)
    net = regrow(net, "0", "5x5 > 1x1 | 1x1", example_inputs=X).model
    net = shaken(regrow(net, "0.edges.a_t", "1x1 | 3x3 > 1x1 | 1x1", example_inputs=X).model, 6)
    replays(net, nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), tmp_path, X)


def test_the_model_itself_is_a_module(tmp_path: Path) -> None:
    net = shaken(morph(nn.Conv2d(4, 4, 3), {"": "3x3 > 1x1"}, example_inputs=X).model)
    with pytest.raises(SiteError, match="cannot be replaced in place"):
        regrow(net, "", "3x3 > 3x3", example_inputs=X, inplace=True)
    result = regrow(net, "", "3x3 > 3x3", example_inputs=X)
    check(result, net, X)
    assert len(result.history) == 2
    replays(result.model, nn.Conv2d(4, 4, 3), tmp_path, X)
    grown = grow_kernel(result.model, "edges.a_t", 5, example_inputs=X)
    check(grown, net, X)
    whole = nn.Sequential(grown.model, nn.Conv2d(4, 4, 3))
    again = regrow(whole, "0", "3x3 > 5x5 | 1x1", example_inputs=X)
    assert [site.name for record in again.history for site in record.sites] == ["0"] * 4
    replays(again.model, nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)), tmp_path, X)


def test_norms_and_activations_of_what_is_new() -> None:
    batches = [pictures(channels=4, seed=seed) for seed in range(2)]
    calibrated = morphed("3x3 > 1x1", act="tanh", norm="calibrated", calibration=batches)
    result = regrow(calibrated, "0", "5x5 > 1x1 | 3x3 > 1x1", example_inputs=X, calibration=batches)
    check(result, calibrated, X)
    assert result.sites[0].graph == parse("5x5 > 1x1 | 3x3 > 1x1")
    norms = result.model[0].norms
    assert sorted(norms) == ["a_t", "b_t", "s_a", "s_b"]
    assert norms["s_a"].num_batches_tracked == 3
    assert norms["s_b"].num_batches_tracked == 0
    assert float(norms["s_b"].running_var[0]) != 1
    assert type(result.model[0].acts["b"].phi) is nn.Tanh
    without = regrow(calibrated, "0", "5x5 > 1x1 | 3x3 > 1x1", example_inputs=X)
    check(without, calibrated, X)
    assert "'0': new edges have no norm, since 'calibrated' needs data" in without.notices[0]
    assert [edge.norm for edge in without.sites[0].graph.edges] == [None, None, "none", "none"]
    other = regrow(calibrated, "0", "3x3 > 1x1 | 3x3 > 1x1", example_inputs=X, act=None, norm="layer")
    check(other, calibrated, X)
    assert sorted(other.model[0].acts) == ["a"]
    assert type(other.model[0].norms["b_t"]).__name__ == "BlendedLayerNorm"
    with pytest.raises(SiteError, match="norm 'paper' needs calibration data"):
        regrow(calibrated, "0", "3x3 > 1x1 | 3x3", example_inputs=X, norm="paper")
    with pytest.raises(GraphError, match="'sine' is not an activation"):
        regrow(calibrated, "0", "3x3 > 1x1 | 3x3", example_inputs=X, act="sine")


def test_a_norm_goes_on_behind_what_takes_its_edge_s_place(tmp_path: Path) -> None:
    net = morphed("3x3 > 1x1", norm="neutral")
    old = net[0].norms["s_a"]
    result = deepen(net, "0.edges.s_a", example_inputs=X, act=None)
    check(result, net, X)
    assert torch.equal(result.model[0].norms["b_a"].running_mean, old.running_mean)
    assert sorted(result.model[0].norms) == ["a_t", "b_a", "s_b"]
    replays(result.model, nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), tmp_path, X)
    for graph in ("s-b:3x3, b-a:1x1, s-c:1x1, c-a:1x1, a-t:1x1", "s-b:3x3, b-a:id, a-t:1x1"):
        with pytest.raises(GraphError, match="edge 's_a' has a norm, which must be kept behind a single edge"):
            regrow(net, "0", graph, example_inputs=X)


def test_norms_by_name() -> None:
    graph = ModuleGraph.from_edges(
        [("s", "a", 3, {"norm": "group"}), ("a", "t", 1)], activations={"a": "gelu"}, widths={"a": 8}
    )
    net = morphed(graph)
    wider = regrow(net, "0", "3x3:8 > 3x3 | 1x1", example_inputs=X)
    check(wider, net, X)
    assert wider.sites[0].graph.edge("s_a").norm == "group"
    assert wider.sites[0].graph.activations == {"a": "gelu"}
    same = ModuleGraph.from_edges(
        [("s", "a", 3, {"norm": "group"}), ("a", "t", 3, {"norm": "none"})], activations={"a": "GELU"}, widths={"a": 8}
    )
    check(regrow(net, "0", same, example_inputs=X), net, X)
    for changes, message in (
        ({"norm": "layer"}, "edge 's_a' the norm 'layer', but the module has it with another"),
        ({"norm": "none"}, "edge 's_a' the norm 'none'"),
    ):
        other = ModuleGraph.from_edges([("s", "a", 3, changes), ("a", "t", 1)], widths={"a": 8})
        with pytest.raises(GraphError, match=message):
            regrow(net, "0", other, example_inputs=X)
    other = ModuleGraph.from_edges([("s", "a", 3), ("a", "t", 1)], activations={"a": "relu"}, widths={"a": 8})
    with pytest.raises(GraphError, match="blob 'a' the activation 'relu'"):
        regrow(net, "0", other, example_inputs=X)


@pytest.mark.parametrize(
    ("before", "after", "error", "message"),
    [
        ("3x3:8 > 1x1", "3x3 > 1x1", GraphError, "blob 'a' would become narrower.*8 channels now, 4.*{a: 8}"),
        ("3x3 > 3x3", "3x3 > 1x1", InfeasibleMorph, "between 'a' and 't', in place of a_t: .*hold"),
        ("3x3 > 1x1", "3x3", GraphError, "blob 'a' is not in the graph"),
        ("3x3 > 1x1", "3x3 > 1x1:2 > 1x1", InfeasibleMorph, "between 'a' and 't', in place of a_t.*'b' .2 channels"),
        ("3x3 > 1x1", "3x3 > 1x1 | id", InfeasibleMorph, "between 's' and 't', which must be zero at first"),
        ("s-a:3x3, a-t:1x1", "s-a:3x3, a-t:1x1, s-b:1x1, a-b:1x1, b-t:id", GraphError, "'b_t' has no weights"),
    ],
)
def test_what_cannot_be_done(before: str, after: str, error: type[NetmorphError], message: str) -> None:
    net = morphed(before)
    with left_alone(net), pytest.raises(error, match=message) as caught:
        regrow(net, "0", after, example_inputs=X, inplace=True)
    assert caught.value.site == "0"


def test_no_edge_may_lead_back_over_the_cut() -> None:
    graph = "s-a:1x1, a-t:3x3, s-b:3x3, b-t:1x1"
    cut = frozenset("sa")
    layout = lay_out(parse(graph), ConvSpec(4, 4, (3, 3), padding=((1, 1), (1, 1))), (cut, cut), cut)
    net = shaken(nn.Sequential(MorphedModule(layout)))
    check(regrow(net, "0", f"{graph}, a-b:3x3", example_inputs=X), net, X)
    with pytest.raises(GraphError, match="edge 'b_a' would make existing edges read other positions"):
        regrow(net, "0", f"{graph}, b-a:1x1", example_inputs=X)


def test_what_joins_blobs_before_the_cut_lies_before_it() -> None:
    graph = "s-a:1x1, s-b:1x1, a-b:1x1, b-t:3x3"
    cut = frozenset("sab")
    layout = lay_out(parse(graph), ConvSpec(4, 4, (3, 3), padding=((1, 1), (1, 1))), (cut, cut), cut)
    net = shaken(nn.Sequential(MorphedModule(layout)))
    result = regrow(net, "0", f"{graph}, s-n:1x1, a-n:3x3, n-b:1x1", example_inputs=X)
    check(result, net, X)
    assert result.sites[0].layout.cut == cut | {"n"}


def test_places() -> None:
    net = morph(small(), {"blocks.0.conv1": "3x3 > 1x1"}, example_inputs=images()).model
    with pytest.raises(SiteError, match="regrow acts on a morphed module or an edge.*is a plain layer.*morph it"):
        regrow(net, "stem", "3x3 > 1x1", example_inputs=images())
    with pytest.raises(SiteError, match="no site matches 'stemm'.*did you mean 'stem'"):
        regrow(net, "stemm", "3x3 > 1x1", example_inputs=images())
    with pytest.raises(SiteError, match="name one of its edges: 'blocks.0.conv1.edges.s_a'"):
        grow_kernel(net, "blocks.0.conv1", 5, example_inputs=images())
    with pytest.raises(SiteError, match="widen acts on .*is an edge.*name the module, 'blocks.0.conv1'"):
        widen(net, "blocks.0.conv1.edges.s_a", example_inputs=images())
    result = grow_kernel(net, "*", 5, example_inputs=images())  # what has no kernel is passed over
    assert [site.name for site in result.sites if "blocks" not in site.name] == ["stem"]
    assert {"blocks.0.conv1", "blocks.1.conv2"} <= {site.name for site in result.sites}


@given(
    st.sampled_from(["3x3 > 1x1", "3x3 | 1x1", "id | 3x3 > 1x1", "s-a:3x3, s-b:1x1, a-b:1x1, a-t:1x1, b-t:3x3"]),
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.sampled_from([1, 2, 3])), min_size=1, max_size=4),
    st.integers(0, 3),
)
@settings(max_examples=25)
def test_any_growth_is_exact(notation: str, extra: list[tuple[int, int, int]], seed: int) -> None:
    """Add edges and blobs at random; what is allowed is exact."""
    net = morphed(notation).double()
    graph = net[0].layout.graph
    for number, (first, second, kernel) in enumerate(extra):
        blobs = list(graph.blobs)
        one, two = sorted((first % len(blobs), second % len(blobs)))
        if one == two:  # a new blob on the way from here to the sink
            source = blobs[min(one, len(blobs) - 2)]
            edges = [(source, f"n{number}", kernel), (f"n{number}", "t", 1)]
        else:
            edges = [(blobs[one], blobs[two], kernel)]
        more = ModuleGraph.from_edges([*graph.edges, *edges], widths=graph.widths)
        graph = more
    try:
        result = regrow(net, "0", graph, example_inputs=X.double(), seed=seed)
    except GraphError as error:
        if "would make existing edges read other positions" not in str(error):
            raise
        return
    assert result.parity.sites[0].max_rel < 1e-12


def test_everything_new_learns_soon() -> None:
    """After two steps every weight has had a gradient that is not zero."""
    net = morphed("3x3 > 1x1")
    grown = regrow(net, "0", "5x5:1.5x > 1x1 | 3x3 > 1x1 | 1x1", example_inputs=X).model
    target = torch.randn(2, 4, 10, 11, generator=torch.Generator().manual_seed(3))
    seen = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in grown.named_parameters()}
    optimizer = torch.optim.SGD(grown.parameters(), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        (grown(X) - target).square().mean().backward()
        for name, parameter in grown.named_parameters():
            seen[name] |= parameter.grad != 0
        optimizer.step()
    assert all(bool(each.all()) for each in seen.values()), {k: float(v.float().mean()) for k, v in seen.items()}


def test_modes_flags_types_and_hooks_go_along() -> None:
    net = morphed("3x3 > 1x1", norm="neutral").double()
    net[0].edges["s_a"].weight.requires_grad_(False)
    net[0].norms["a_t"].eval()
    calls: list[int] = []
    handle = net[0].register_forward_hook(lambda *_: calls.append(1))
    kept = net[0].edges["a_t"]
    result = regrow(net, "0", "5x5 > 1x1 | 1x1", example_inputs=X.double(), inplace=True)
    new = result.model[0]
    assert result.model is net
    assert new.edges["a_t"] is kept
    assert not new.edges["s_a"].weight.requires_grad
    assert new.edges["s_t"].weight.requires_grad
    assert new.edges["s_t"].weight.dtype == torch.float64
    assert (new.training, new.norms["a_t"].training, new.norms["s_t"].training) == (True, False, True)
    calls.clear()
    net(X.double())
    assert calls == [1]
    handle.remove()
    net(X.double())
    assert calls == [1]
    frozen = morphed("3x3 > 1x1").requires_grad_(False)
    grown = regrow(frozen, "0", "3x3 > 1x1 | 1x1", example_inputs=X).model
    assert not any(parameter.requires_grad for parameter in grown.parameters())
    striped = morphed("3x3 > 3x3").to(memory_format=torch.channels_last)
    grown = regrow(striped, "0", "5x5 > 3x3 | 3x3", example_inputs=X).model
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in grown.parameters() if p.dim() == 4)


def test_failure_undoes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    net = shaken(morph(resnet(), {"*.conv1": "3x3 > 1x1"}, example_inputs=RGB).model)
    monkeypatch.setattr("netmorph.surgery.growth.larger_module.site_parity", fails_at("layer3.0.conv1"))
    with left_alone(net), pytest.raises(ParityError) as caught:
        grow_kernel(net, "*.conv1.edges.s_a", 5, example_inputs=RGB, inplace=True)
    assert caught.value.site == "layer3.0.conv1"


def fails_at(name: str) -> Callable[..., SiteParity]:
    def measure(*args: object, site: str, **options: object) -> SiteParity:
        if site == name:
            raise ParityError("as if they differed")
        return site_parity(*args, site=site, **options)

    return measure


def test_nothing_to_grow_is_fine() -> None:
    net = morphed("3x3 > 1x1")
    before = state(net)
    result = regrow(net, "0", "3x3 > 1x1", example_inputs=X)
    assert all(torch.equal(value, result.model.state_dict()[key]) for key, value in net.state_dict().items())
    assert state(net).keys() == before.keys()


def test_what_grew_collapses_and_grows_again(tmp_path: Path) -> None:
    parent = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
    net = morph(parent, {"0": "3x3 > 1x1"}, example_inputs=X, act=None).model
    net = regrow(net, "0", "5x5 > 1x1 | 1x1", example_inputs=X, act=None).model
    plain = collapse(net, X).model
    assert isinstance(plain[0], nn.Conv2d)
    assert gap(parent, plain, X) < 1e-6
    replays(plain, copy.deepcopy(parent), tmp_path, X)
