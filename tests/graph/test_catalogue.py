import pytest
from tests.strategies import source_layout

from netmorph.errors import GraphError
from netmorph.filters import ConvSpec
from netmorph.graph.catalogue import MOST_RUNGS, catalogue, ladder
from netmorph.graph.notation import has_notation, parse
from netmorph.graph.paths import path_count
from netmorph.graph.reduce import reduce
from netmorph.graph.spec import Width

COMPLEX = {"module_d", "dense", "ladder"}


@pytest.mark.parametrize("name", list(catalogue))
def test_every_module(name: str) -> None:
    graph = catalogue[name]
    assert has_notation(graph)
    assert "\n" not in catalogue.describe(name)
    assert reduce(graph).is_simple == (name not in COMPLEX)
    # Each fits some 3x3 (or, with the transformer's, linear) site with as many channels in as out.
    layout = source_layout(graph, ConvSpec(16, 16) if name == "mlp" else ConvSpec.same(16, 16))
    assert set(layout.specs) == {edge.name for edge in graph.edges}


def test_it_is_a_mapping() -> None:
    assert len(catalogue) == len(list(catalogue)) == len(dict(catalogue))
    assert "module_d" in catalogue
    assert "ladder" in catalogue
    assert "residual" not in catalogue
    assert 3 not in catalogue
    assert catalogue.get("residual") is None
    assert catalogue.get("repvgg") == parse("3x3 | 1x1 | id")
    assert catalogue["bottleneck"] is catalogue["bottleneck"]


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(GraphError, match="unknown module 'botleneck'.*did you mean 'bottleneck' or"):
        catalogue["botleneck"]
    with pytest.raises(GraphError, match="unknown module 'qqq'.*choose one of module_d, "):
        catalogue.describe("qqq")


def test_module_d_is_that_of_equation_6() -> None:
    found = {edge.name: (edge.source, edge.sink, edge.kernel) for edge in catalogue["module_d"].edges}
    assert found == {
        "F1": ("s", "a", (3, 3)),
        "F2": ("s", "b", (3, 3)),
        "F3": ("a", "c", (3, 3)),
        "F4": ("b", "c", (1, 1)),
        "F5": ("a", "t", (1, 1)),
        "F6": ("c", "t", (1, 1)),
        "F7": ("b", "t", (1, 1)),
    }


@pytest.mark.parametrize("suffix", ["1c1", "3c1", "3c3", "1c1_2branch"])
def test_whole_modules_are_the_residual_module_with_its_shortcut_morphed(suffix: str) -> None:
    whole, part = str(catalogue[f"resnet_morph_{suffix}"]), str(catalogue[f"morph_{suffix}"])
    assert whole == f"3x3 > 3x3 | {part}"
    assert str(catalogue["resnet_module"]) == "3x3 > 3x3 | id"


@pytest.mark.parametrize(("suffix", "products"), [("1c1", 2), ("3c1", 10), ("3c3", 18), ("1c1_2branch", 4)])
def test_shortcuts_cost_what_the_papers_tables_say(suffix: str, products: int) -> None:
    """Table 1: morph20_1c1 has 44.0 - 40.8 million more products than resnet20, 3c1 15.7, 3c3 28.3, 2branch 6.3.

    That is six shortcuts, each of C*C products a position and tap, with 16 channels at 32x32 (or as many later on).
    """
    millions = {"1c1": 44.0, "3c1": 56.5, "3c3": 69.1, "1c1_2branch": 47.1}[suffix] - 40.8
    specs = source_layout(catalogue[f"morph_{suffix}"], ConvSpec.same(16, 16, 1)).specs.values()
    each = sum(spec.c_out * spec.taps * (spec.c_in // spec.groups) for spec in specs if spec.groups == 1)
    assert each == products * 16 * 16
    assert 6 * each * 32 * 32 / 1e6 == pytest.approx(millions, abs=0.1)


def test_relative_widths() -> None:
    assert catalogue["depthwise_separable"].widths == {"a": Width.of("9x")}
    assert catalogue["asymmetric"].widths == {"a": Width.of("3x")}


@pytest.mark.parametrize("rungs", [1, 2, 5, 40])
def test_a_ladder_has_2_to_the_n_paths(rungs: int) -> None:
    graph = ladder(rungs)
    assert path_count(graph) == 2**rungs
    assert reduce(graph).is_simple == (rungs == 1)


@pytest.mark.parametrize("rungs", [0, -1, MOST_RUNGS + 1])
def test_ladders_are_bounded(rungs: int) -> None:
    with pytest.raises(GraphError, match="1 to 50000 rungs"):
        ladder(rungs)
