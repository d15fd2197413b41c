import json

import pytest
import torch
from tests.surgery.networks import images, left_alone, small
from torch import nn

from netmorph.errors import GraphError, SiteError
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.plan import plan
from netmorph.surgery.running.cost import cost

MAPPING = {"*.conv1": "module_d", "blocks.0.shortcut": "morph_1c1", "fc": "1:2x > 1"}


def test_the_plan_foretells_the_cost_of_the_linear_module() -> None:
    model = small()
    with left_alone(model):
        planned = plan(model, MAPPING, example_inputs=images())
    assert planned.feasible is True
    child = morph(model, MAPPING, example_inputs=images(), act=None).model
    assert planned.cost.before == cost(model, images())
    assert planned.cost.after == cost(child, images())
    assert [each.site.name for each in planned] == ["blocks.0.conv1", "blocks.0.shortcut", "blocks.1.conv1", "fc"]
    assert len(planned) == 4
    assert planned[0].macs[0] == 2 * 8 * 8 * 8 * 8 * 9


def test_it_prints_and_becomes_json() -> None:
    planned = plan(small(), MAPPING, example_inputs=images())
    text = planned.summary()
    for part in ("blocks.0.conv1\n  graph     F1=s-a:3x3", "complex", "4 sites: parameters", "exact     yes"):
        assert part in text
    data = json.loads(json.dumps(planned.to_dict()))
    assert data["feasible"] is True
    assert data["sites"][1]["kind"] == "identity"
    assert data["sites"][1]["parent_macs_of_call"] == 0
    assert data["cost"]["after"]["macs"] == planned.cost.after.macs


def test_what_is_infeasible_is_told_before_any_work() -> None:
    planned = plan(small(), {"stem": "3x3:0.25x > 1x1", "fc": "1 > 1"}, example_inputs=images())
    assert planned.feasible is False
    assert planned[0].plan.bottleneck
    assert "exact     no" in planned.summary()


def test_what_only_solving_decides() -> None:
    planned = plan(small(), {"stem": "3x3 > 1x1 | 1x1", "fc": "1"}, example_inputs=images(), fill="dense")
    assert planned.feasible in (True, None)


def test_refused_and_unreached_places() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.up = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.ConvTranspose2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    planned = plan(Partly(), {"*": "1x1 > 1x1"}, example_inputs=images())
    assert "unused (not reached by the example)" in planned.summary()
    assert "up is skipped: it is a transposed" in planned.summary()
    assert planned[1].macs == (0, 0)


def test_a_graph_that_does_not_fit_names_the_site() -> None:
    with pytest.raises(GraphError, match="site fc; graph '3x3 > 1x1'|graph '3x3 > 1x1'.*site fc"):
        plan(small(), {"fc": "3x3 > 1x1"}, example_inputs=images())
    with pytest.raises(GraphError, match="joins 3 to 8 channels .site stem; graph 'id'"):
        plan(small(), {"stem": "id"}, example_inputs=images())
    with pytest.raises(SiteError, match="no site matches"):
        plan(small(), {"nothing": "3x3"}, example_inputs=images())
    with pytest.raises(SiteError, match="morph before wrapping"):
        plan(torch.compile(small(), backend="aot_eager"), MAPPING, example_inputs=images())


def test_no_weights_are_needed() -> None:
    planned = plan(small().to("meta"), MAPPING, example_inputs=images().to("meta"))
    assert planned.cost == plan(small(), MAPPING, example_inputs=images()).cost
