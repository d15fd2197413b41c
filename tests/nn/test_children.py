"""Any name is a name: none hides a method, none breaks a tool that reads attributes."""

import copy
from itertools import pairwise

import pytest
import torch
from tests.nn.samples import noise

from netmorph.filters import ConvSpec
from netmorph.graph.cuts import source_cut
from netmorph.graph.layout import lay_out
from netmorph.graph.spec import ModuleGraph
from netmorph.nn import MorphedModule
from netmorph.nn.children import NamedChildren

AWKWARD = [
    "to",
    "to_",
    "type",
    "keys",
    "forward",
    "training",
    "train",
    "for",
    "class",
    "weight",
    "bias",
    "edges",
    "T_destination",
]


def awkward() -> MorphedModule:
    blobs = ["s", *AWKWARD, "t"]
    edges = [(u, v, 1, {"name": v if v != "t" else "parameters"}) for u, v in pairwise(blobs)]
    graph = ModuleGraph.from_edges(edges)
    cut = source_cut(graph)
    return MorphedModule(lay_out(graph, ConvSpec.same(4, 6), [cut, cut], cut), norm="neutral").eval()


def test_every_child_is_found_by_name_and_by_path() -> None:
    net = awkward()
    assert list(net.edges) == [*AWKWARD, "parameters"]
    assert list(net.acts) == AWKWARD
    for part in ("edges", "norms", "acts"):
        container = net.get_submodule(part)
        assert len(container) == len({container.key(name) for name in container})
        for name in container:
            assert name in container
            assert net.get_submodule(f"{part}.{container.key(name)}") is container[name]
    assert "nothing" not in net.edges


def test_keys_are_the_names_wherever_they_can_be() -> None:
    net = awkward()
    assert {name: net.acts.key(name) for name in AWKWARD} == {
        **{name: name for name in AWKWARD},
        "to": "to__",
        "type": "type_",
        "forward": "forward_",
        "training": "training_",
        "train": "train_",
        "for": "for_",
        "class": "class_",
        "T_destination": "T_destination_",
    }


@pytest.mark.parametrize("how", ["deepcopy", "export", "compile", "trace"])
def test_awkward_names_survive(how: str) -> None:
    net, x = awkward(), noise(2, 4, 5, 5)
    expected = net(x)
    if how == "deepcopy":
        other = copy.deepcopy(net)
    elif how == "export":
        other = torch.export.export(net, (x,)).module()
    elif how == "compile":
        other = torch.compile(net, backend="aot_eager", fullgraph=True)
    else:
        other = torch.fx.symbolic_trace(net)
    torch.testing.assert_close(other(x), expected)


def test_a_container_is_not_a_layer() -> None:
    with pytest.raises(TypeError, match="NamedChildren holds modules and cannot be called"):
        NamedChildren({})()
