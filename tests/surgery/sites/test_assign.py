import pytest
import torch
from tests.surgery.networks import Small, images
from torch import nn

from netmorph.errors import GraphError, NotationError, SiteError
from netmorph.graph.catalogue import catalogue
from netmorph.graph.notation import parse
from netmorph.surgery.sites.assign import assign, read_graph, site_seed
from netmorph.surgery.sites.find import find_sites

SITES = find_sites(Small(), images())


def test_graphs_come_in_three_forms() -> None:
    graph = parse("3x3 > 1x1")
    assert read_graph(graph) is graph
    assert read_graph("3x3 > 1x1") == graph
    assert read_graph(" module_d ") == catalogue["module_d"]
    assert str(read_graph("id")) == "id"


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("3x3 >", NotationError, r"\^"),
        ("modul_d", GraphError, "module_d"),
        (3, GraphError, "a graph, its notation or a name of the catalogue, got 3"),
    ],
)
def test_what_is_no_graph(value: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_graph(value)


def test_sites_come_in_the_networks_order() -> None:
    chosen, skipped = assign(SITES, {"fc": "1 > 1", "*conv1": "3x3 > 1x1"}, 0)
    assert [each.site.name for each in chosen] == ["blocks.0.conv1", "blocks.1.conv1", "fc"]
    assert [str(each.graph) for each in chosen] == ["3x3 > 1x1", "3x3 > 1x1", "1 > 1"]
    assert skipped == {}


def test_seeds_follow_from_names_not_from_order() -> None:
    one, _ = assign(SITES, {"fc": "1 > 1", "*conv1": "3x3 > 1x1"}, 3)
    other, _ = assign(SITES, {"blocks.1.conv1": "3x3 > 1x1", "fc": "1 > 1"}, 3)
    assert [each.seed for each in one[1:]] == [each.seed for each in other]
    assert len({each.seed for each in one}) == 3
    assert site_seed(3, "fc") != site_seed(4, "fc")
    assert site_seed(0, "fc") == 8698422494803133646  # the same on every machine


def test_two_patterns_for_one_site() -> None:
    with pytest.raises(SiteError, match=r"two patterns match it: 'blocks.0.\*' and '\*conv1' .site blocks.0.conv1"):
        assign(SITES, {"blocks.0.*": "1x1", "*conv1": "1x1"}, 0)


@pytest.mark.parametrize("mapping", [{}, None, "fc", {1: "3x3"}])
def test_a_mapping_is_needed(mapping: object) -> None:
    with pytest.raises(SiteError, match=r"expected a dict from names of sites to graphs.*write \{"):
        assign(SITES, mapping, 0)


def test_refused_places_that_a_glob_meets_are_handed_back() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1))
    chosen, skipped = assign(find_sites(model, torch.zeros(1, 2, 3, 3)), {"*": "1x1 > 1x1"}, 0)
    assert [each.site.name for each in chosen] == ["0"]
    assert "transposed" in skipped["1"]
