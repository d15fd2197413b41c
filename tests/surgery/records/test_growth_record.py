import copy
import json

import pytest
import torch
from tests.surgery.growing import pictures, shaken
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.surgery.edit.channels import channels_of, mixes_channels, with_channels
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.checkpoint import load, save
from netmorph.surgery.records.growth_record import (
    ChangedChannels,
    ChangedLayer,
    GrowthRecord,
    RegrownModule,
    read_record,
)
from netmorph.surgery.records.history import MorphRecord, history_of
from netmorph.surgery.records.replay import replayed

X = pictures()


def parent() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.PReLU(4), nn.Conv2d(4, 4, 3, padding=1), nn.Flatten()
    )


def grown() -> nn.Module:
    net = widen(shaken(parent()), "0", 6, example_inputs=X).model
    net = morph(net, {"3": "3x3 > 1x1"}, example_inputs=X).model
    return regrow(net, "3", "5x5 > 1x1 | 1x1", example_inputs=X, norm="neutral").model


GROWN = grown()
RECORDS = history_of(GROWN)
WIDEN, MORPH, REGROW = RECORDS


def test_records_survive_json() -> None:
    for record in RECORDS:
        text = json.dumps(record.to_dict())
        assert read_record(json.loads(text)) == record
    assert [type(record) for record in RECORDS] == [GrowthRecord, MorphRecord, GrowthRecord]
    assert [type(site) for site in WIDEN.sites] == [ChangedLayer, ChangedChannels, ChangedChannels, ChangedLayer]
    assert isinstance(REGROW.sites[0], RegrownModule)
    assert REGROW.options["norm"] == "neutral"
    assert WIDEN.versions["torch"] == torch.__version__


def test_a_part_brings_its_growth_along(tmp_path: object) -> None:
    whole = nn.Sequential(GROWN, nn.Linear(440, 2))
    result = deepen(whole, "0.3.edges.a_t", example_inputs=X)
    names = [[site.name for site in record.sites] for record in result.history]
    assert names == [["0.0", "0.1", "0.2", "0.3"], ["0.3"], ["0.3"], ["0.3"]]
    into = nn.Sequential(parent(), nn.Linear(440, 2))
    again = load(save(result.model, tmp_path), into=into)
    state = again.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in result.model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(sites={}), "'sites' of a record of the history is not {}"),
        (lambda data: data.update(extra=1), "invalid description of a record of the history.*extra"),
        (lambda data: data.update(operation="explode"), "'explode' that this netmorph does not know"),
        (lambda data: data["sites"].append(3), "None is not a kind of place"),
        (lambda data: data["sites"].append({"kind": "magic"}), "'magic' is not a kind of place"),
        (lambda data: data["sites"].append({"kind": ["layer"]}), "is not a kind of place"),
        (lambda data: data["sites"].append({"kind": "layer", "name": "0"}), "invalid description of a layer that grew"),
        (lambda data: data["sites"][0].update(seed=True), "'seed' of a module that grew is not True"),
        (lambda data: data["sites"][0].update(act=3), "'act' of a module that grew is not 3"),
        (lambda data: data["sites"][0].update(layout={}), "invalid description of a layout.*site 3"),
        (lambda data: data["sites"][0]["before"].update(border="?"), "border must be 'zeros' or 'halo'.*site 3"),
    ],
)
def test_malformed_modules(change: object, message: str) -> None:
    data = copy.deepcopy(REGROW.to_dict())
    change(data)
    with pytest.raises(NetmorphError, match=message):
        read_record(data)


@pytest.mark.parametrize(
    ("index", "key", "value", "message"),
    [
        (0, "before", {"kind": "conv"}, "invalid description of a layer"),
        (0, "after", 3, "'after' of a layer that grew is not 3"),
        (1, "before", 0, "6 is not a number of channels that 0 can grow to"),
        (1, "after", 3, "3 is not a number of channels that 4 can grow to"),
        (1, "after", 1 << 40, "is not a number of channels"),
        (1, "after", True, "'after' of channels that grew is not True"),
        (1, "type", None, "'type' of channels that grew is not None"),
    ],
)
def test_malformed_layers(index: int, key: str, value: object, message: str) -> None:
    data = copy.deepcopy(WIDEN.to_dict())
    data["sites"][index][key] = value
    with pytest.raises(NetmorphError, match=message):
        read_record(data)


@pytest.mark.parametrize(
    ("index", "module", "message"),
    [
        (0, nn.Conv2d(3, 5, 3, padding=1), "the parent's module is not the one that grew.*site 0"),
        (0, nn.ReLU(), "expected conv 3->4 kernel 3x3 padding 1x1, found ReLU"),
        (1, nn.BatchNorm2d(5), "expected BatchNorm2d of 4 channels, found BatchNorm2d"),
        (1, nn.InstanceNorm2d(4, affine=True), "found InstanceNorm2d"),
        (2, nn.PReLU(), "expected PReLU of 4 channels, found PReLU"),
    ],
)
def test_other_parents(index: int, module: nn.Module, message: str) -> None:
    other = parent()
    other[index] = module
    names = dict(other.named_modules())
    with pytest.raises(NetmorphError, match=message), replayed(other, RECORDS):
        pass
    assert dict(other.named_modules()) == names


def test_parents_of_another_kind() -> None:
    with pytest.raises(NetmorphError, match="the parent has no such module.*site 0"), replayed(nn.ReLU(), RECORDS):
        pass
    plain = widen(parent(), "0", 6, example_inputs=X).model
    with pytest.raises(NetmorphError, match="module '3x3 > 1x1', found Conv2d"), replayed(plain, (REGROW,)):
        pass
    other = morph(widen(parent(), "0", 6, example_inputs=X).model, {"3": "3x3 | 1x1"}, example_inputs=X).model
    with pytest.raises(NetmorphError, match="expected the morphed module '3x3 > 1x1'"), replayed(other, (REGROW,)):
        pass


@pytest.mark.parametrize(
    ("module", "channels"),
    [
        (nn.BatchNorm1d(3), 3),
        (nn.BatchNorm2d(3, affine=False), 3),
        (nn.BatchNorm3d(3, track_running_stats=False), 3),
        (nn.BatchNorm2d(3, affine=False, track_running_stats=False), None),
        (nn.InstanceNorm2d(3, affine=True), 3),
        (nn.InstanceNorm2d(3), None),
        (nn.PReLU(3), 3),
        (nn.PReLU(), None),
        (nn.LayerNorm(3), 3),
        (nn.LayerNorm((3, 4)), None),
        (nn.LayerNorm(3, elementwise_affine=False), 3),
        (nn.RMSNorm(3), 3),
        (nn.GroupNorm(1, 3), None),
        (type("Mine", (nn.LayerNorm,), {})(3), None),
        (nn.ReLU(), None),
    ],
    ids=str,
)
def test_modules_with_a_parameter_a_channel(module: nn.Module, channels: int | None) -> None:
    assert channels_of(module) == channels
    if channels is None:
        return
    shaken(module)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    index = torch.tensor([0, 1, 2, 0, 1, 2] if mixes_channels(module) else [0, 1, 2, 1])
    wide = with_channels(module, index)
    assert type(wide) is type(module)
    assert channels_of(wide) == len(index)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    x = torch.randn(
        2, 3, *[4] * {"BatchNorm2d": 2, "BatchNorm3d": 3, "InstanceNorm2d": 2}.get(type(module).__name__, 0)
    )
    for mode in (True, False):
        y = module.train(mode)(x)
        assert torch.allclose(wide.train(mode)(x[:, index]), y[:, index], atol=1e-6)
