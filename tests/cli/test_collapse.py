"""The way back from the command line."""

import json

import pytest
import torch

from netmorph.cli.main import main
from netmorph.models.opening import load
from netmorph.models.registry import build
from netmorph.surgery.records.checkpoint import save
from netmorph.surgery.records.history import history_of

MODEL = ["--model", "netmorph:resnet8", "--model-args.width=4", "--model-args.in_channels=1"]
INPUT = ["--input-shape", "2,1,12,12"]
SITES = ["--at", "layer1.*.conv1", "--to", "3x3 > 1x1 | 1x1", "--at", "fc", "--to", "1 > 1"]


def call(capsys, *arguments, code=0):
    assert main(list(arguments)) == code
    return capsys.readouterr()


@pytest.fixture
def child(capsys):
    call(capsys, "morph", *MODEL, *INPUT, *SITES, "--out", "child")


@pytest.fixture
def bent(child):
    """A child of which one activation is no longer the identity."""
    model = load("child")
    model.fc.acts["a"].weight.data[0] = 0.5
    save(model, "bent")


def test_what_was_morphed_is_collapsed_and_saved(capsys, child):
    out = call(capsys, "collapse", "--model", "child", *INPUT, "--out", "back").out
    assert "conv 4->4 kernel 3x3 padding 1x1 without bias" in out
    assert "linear 16->10" in out
    assert out.endswith("Written to back\n")
    back, parent = load("back"), build("netmorph:resnet8", width=4, in_channels=1)
    assert str(back) == str(parent)
    assert history_of(back) == ()
    call(capsys, "verify", "child", "back", *INPUT)


def test_what_stays_is_said_and_told_by_the_exit_code(capsys, bent):
    out = call(capsys, "collapse", "--model", "bent", *INPUT, "--out", "back", code=2).out
    assert "  stays: fc: the activation of blob 'a' is not the identity: its slopes range from 0.5 to 1" in out
    assert type(load("back").layer1[0].conv1) is torch.nn.Conv2d
    assert load("back").fc.edges is not None


def test_where_nothing_can_be_collapsed_nothing_is_written(capsys, tmp_path):
    call(capsys, "morph", *MODEL, *INPUT, "--at", "fc", "--to", "1 > 1", "--out", "child")
    model = load("child")
    model.fc.acts["a"].weight.data.zero_()
    save(model, "bent")
    assert "Nothing was written" in call(capsys, "collapse", "--model", "bent", *INPUT, "--out", "back", code=2).out
    assert not (tmp_path / "back").exists()


def test_json(capsys, bent):
    found = json.loads(call(capsys, "collapse", "--model", "bent", *INPUT, "--out", "back", "--json", code=2).out)
    assert [site["site"] for site in found["collapsed"]] == ["layer1.0.conv1"]
    assert found["collapsed"][0]["difference"] <= found["collapsed"][0]["tolerance"] == 1e-5
    assert found["collapsed"][0]["layer"]["spec"]["kernel"] == [3, 3]
    assert list(found["kept"]) == ["fc"]
    assert found["folder"] == "back"
    assert found["cost"]["after"]["params"] < found["cost"]["before"]["params"]


def test_a_border_may_be_accepted(capsys):
    sites = ["--at", "layer1.*.conv1", "--to", "3x3:2x > 3x3", "--act", "none"]
    call(capsys, "morph", *MODEL, *INPUT, *sites, "--out", "child")
    model = load("child")
    for parameter in model.layer1[0].conv1.parameters():
        parameter.data.add_(0.01)
    save(model, "trained")
    command = ["collapse", "--model", "trained", *INPUT]
    assert "border error" in call(capsys, *command, "--out", "no", code=2).out
    assert "kernel 5x5" in call(capsys, *command, "--out", "yes", "--approximate").out
    assert "kernel 5x5" in call(capsys, *command, "--out", "yes2", "--tolerance", "10").out
    assert load("yes").layer1[0].conv1.kernel_size == (5, 5)


def test_a_network_without_morphed_modules_is_refused(capsys):
    error = call(capsys, "collapse", *MODEL, *INPUT, "--out", "back", code=2).err
    assert "there is no morphed module in netmorph:resnet8" in error


def test_a_full_folder_is_refused(capsys, child):
    assert "is not empty" in call(capsys, "collapse", "--model", "child", *INPUT, "--out", "child", code=2).err
