"""Children made in other processes are the same children; the verdict follows from the figures."""

import math

import pytest
import torch
from benchmarks.birth import Nursery, Variant, beyond, edge_ratios, layer_ratios, size_matters
from benchmarks.conditioning import SIZES, Plan
from benchmarks.real_images import fashion
from benchmarks.short_training import loss_after
from benchmarks.verdict import Differences, pooled, sentences, verdicts
from torch import nn

from netmorph.models.registry import build

X = torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4


def small() -> nn.Module:
    return build("netmorph:resnet8", num_classes=4, in_channels=1, width=4).eval()


def differences(change: str, *gaps: float, graph: str = "g") -> Differences:
    return Differences("images", 0.05, graph, change, gaps)


def test_the_size_of_noise_matters_only_where_something_can_cancel() -> None:
    assert not size_matters(small(), X[:1], "3x3 > 1x1")
    assert size_matters(small(), X[:1], "3x3 > 1x1 | 1x1")


def test_children_from_other_processes_are_the_same() -> None:
    parent = small()
    wanted = [(Variant("3x3 > 1x1 | 1x1", "pointwise", 0.1), seed) for seed in range(2)]
    families = []
    for workers in (0, 2):
        with Nursery(parent, X[:1], workers).children(wanted) as children:
            families.append(list(children))
    for here, there in zip(*families, strict=True):
        assert here.norms == there.norms
        assert (here.parity, here.low_parity) == (there.parity, there.low_parity)
        mine, theirs = here.model.state_dict(), there.model.state_dict()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert [child.low_parity is None for child in families[0]] == [False, True]


def test_a_network_drawn_by_he_is_its_own_twin() -> None:
    parent = small()
    key = "layer1.0.conv1"
    nn.init.kaiming_normal_(parent.get_submodule(key).weight, generator=torch.Generator().manual_seed(3))
    assert layer_ratios(parent, [key], X, LABELS, 3) == {key: 1.0}
    assert layer_ratios(parent, [key], X, LABELS, 4) != {key: 1.0}


def test_every_new_edge_has_a_ratio_and_the_child_is_left_as_it_was() -> None:
    variant = Variant("3x3 > 1x1 | 1x1", "pointwise", 0.5)
    with Nursery(small(), X[:1], 0).children([(variant, 0)]) as children:
        child = next(children).model
    before = {key: value.clone() for key, value in child.state_dict().items()}
    found = edge_ratios(child, X, LABELS, 0)
    assert [site for site, _ in found] == [f"layer{k}.0.conv1" for k in (1, 2, 3) for _ in range(3)]
    assert all(0 < ratio < math.inf for _, ratio in found)
    assert all(torch.equal(before[key], value) for key, value in child.state_dict().items())
    assert not child.training


def test_what_lies_beyond_a_factor_is_counted_on_both_sides() -> None:
    assert beyond([0.0, 0.09, 0.1, 1.0, 10.0, 10.1, math.inf, math.nan], 10.0) == 5


def test_differences_have_means_and_errors_over_seeds() -> None:
    one = differences("size 1", 0.1, 0.2, 0.3)
    assert one.mean == pytest.approx(0.2)
    assert one.error == pytest.approx(0.1 / 3**0.5)
    assert one.outcome == "worse"
    assert differences("size 1", -0.1, -0.2, -0.3).outcome == "better"
    assert differences("size 1", 0.3, -0.2, 0.1).outcome == "no difference"
    assert differences("size 1", 0.3).outcome == "one seed"
    assert differences("size 1", 0.3, math.inf).outcome == "diverged"


def test_graphs_are_pooled_seed_by_seed() -> None:
    both = [differences("dense", 1.0, 3.0), differences("dense", 3.0, 1.0, graph="h"), differences("size 0", 1.0, 1.0)]
    assert [(each.change, each.gaps) for each in pooled(both)] == [("dense", (2.0, 2.0)), ("size 0", (1.0, 1.0))]
    assert [row["graphs"] for row in verdicts(both)] == [2, 1]


def test_words_follow_from_the_figures() -> None:
    same, worse = differences("size 0", 0.1, -0.1), differences("dense", 0.1, 0.11, 0.12)
    better = differences("size 2", -0.1, -0.11, -0.12)
    assert sentences([same], "d")[0].startswith("No difference from the default (d) is beyond")
    assert sentences([same, worse], "d")[0].startswith("Nothing is better than the default (d)")
    told = sentences([same, worse, better], "d")
    assert told[0].startswith("The default (d) is not the best everywhere")
    assert "size 2 (-0.11" in told[0]
    assert "1 are better and 1 worse" in told[1]
    assert sentences([differences("dense", 1.0)], "d")[0].startswith("With one seed")


def test_the_default_is_measured_first() -> None:
    assert SIZES[0] == 0.5
    for quick in (True, False):
        assert Plan.of(torch.device("cpu"), quick).sizes[0] == SIZES[0]
        assert Plan.of(torch.device("cuda"), quick).seeds >= 2


def test_a_training_follows_from_its_seed_and_leaves_the_network() -> None:
    parent, data = build("netmorph:resnet8", num_classes=10, in_channels=1, width=4).eval(), fashion(64, 32)
    before = {key: value.clone() for key, value in parent.state_dict().items()}
    cpu = torch.device("cpu")
    first, again, other = (loss_after(parent, data, cpu, 2, seed, 0.05) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert all(torch.equal(before[key], value) for key, value in parent.state_dict().items())
    assert loss_after(parent, data, cpu, 2, 0, 1e30) == math.inf
