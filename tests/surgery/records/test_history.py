import copy
import json
import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.surgery.networks import images, small
from torch import nn

from netmorph.errors import GraphError, NetmorphError
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.history import history_of, remember
from netmorph.surgery.records.morphed_site import MorphedSite
from netmorph.surgery.records.record import Record

RECORD = morph(small(), {"*.conv1": "module_d", "fc": "1 > 1"}, example_inputs=images(), seed=2).history[0]


def test_records_survive_json() -> None:
    text = json.dumps(RECORD.to_dict())
    assert Record.from_dict(json.loads(text)) == RECORD
    assert RECORD.versions["torch"] == torch.__version__


def test_a_model_carries_its_history() -> None:
    model = morph(small(), {"stem": "3x3 > 1x1"}, example_inputs=images()).model
    assert history_of(small()) == ()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert history_of(again) == history_of(model)
    assert "_netmorph_history" not in model.state_dict()


def test_traced_networks_carry_their_history() -> None:
    model = torch.fx.symbolic_trace(small())
    for name, graph in (("fc", "1 > 1"), ("stem", "3x3 > 1x1")):
        model = morph(model, {name: graph}, example_inputs=images()).model
    assert [record.sites[0].name for record in history_of(model)] == ["fc", "stem"]
    for slope in model.fc.acts.parameters():
        slope.data.fill_(0.5)  # no layer computes that
    assert [record.sites[0].name for record in history_of(collapse(model, images()).model)] == ["fc"]


def test_a_part_brings_its_history_along() -> None:
    backbone = morph(small(), {"stem": "3x3 > 1x1"}, example_inputs=images()).model
    whole = nn.Sequential(backbone, nn.Linear(5, 5))
    whole = morph(whole, {"1": "1 > 1", "0.fc": "1 > 1"}, example_inputs=images()).model
    whole[0] = morph(whole[0], {"stem.edges.a_t": "1x1 | 1x1"}, example_inputs=images()).model
    names = [[site.name for site in record.sites] for record in history_of(whole)]
    assert names == [["0.stem"], ["0.fc", "1"], ["0.stem.edges.a_t"]]
    layer = morph(nn.Linear(3, 3), {"": "1 > 1"}, example_inputs=torch.zeros(1, 3)).model
    assert history_of(nn.Sequential(layer))[0].sites[0].name == "0"


def test_remembering_adds() -> None:
    model = small()
    remember(model, RECORD)
    remember(model, RECORD)
    assert len(history_of(model)) == 2


def test_what_follows_a_record_of_a_clock_that_is_ahead_comes_after_it() -> None:
    model = nn.Sequential(small(), nn.Linear(5, 5))
    remember(model[0], replace(RECORD, serial=time.time_ns() + 10**12))
    model = morph(model, {"1": "1 > 1"}, example_inputs=images()).model
    model = morph(model, {"0.stem": "3x3 > 1x1"}, example_inputs=images()).model
    names = [record.sites[0].name for record in history_of(model)]
    assert names == ["0.blocks.0.conv1", "1", "0.stem"]


def test_numbers_of_numpy_become_those_of_json() -> None:
    record = Record("morph", (), {"seed": np.int64(3), "noise": np.float32(0.5), "check": np.True_})
    assert json.dumps(record.to_dict()["options"]) == '{"seed": 3, "noise": 0.5, "check": true}'
    with pytest.raises(NetmorphError, match="cannot be written as JSON: a Linear is not a valid value"):
        Record("morph", (), {"seed": nn.Linear(1, 1)}).to_dict()


def changed(**values: object) -> dict:
    return {**RECORD.sites[0].to_dict(), **values}


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (None, NetmorphError, "invalid description of a morphed site.*found NoneType"),
        ({"name": "fc"}, NetmorphError, "invalid description of a morphed site.*found .'name'."),
        (changed(extra=1), NetmorphError, "invalid description"),
        (changed(name=3), NetmorphError, "'name' of a morphed site is not 3"),
        (changed(seed="0"), NetmorphError, "'seed'"),
        (changed(kind="magic"), NetmorphError, "'magic' is not a kind of site"),
        (changed(layout={}), GraphError, "site blocks.0.conv1"),
    ],
)
def test_malformed_sites(data: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        MorphedSite.from_dict(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "invalid description of a record"),
        ({**RECORD.to_dict(), "operation": "shrink"}, "operation 'shrink' that this netmorph does not know"),
        ({**RECORD.to_dict(), "sites": {}}, "'sites' of a record of the history is not {}"),
        ({**RECORD.to_dict(), "options": 3}, "'options' of a record of the history is not 3"),
    ],
)
def test_malformed_records(data: object, message: str) -> None:
    with pytest.raises(NetmorphError, match=message):
        Record.from_dict(data)
