"""A run of each kind, as small as can be, made once by the commands themselves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from netmorph.cli.main import main
from netmorph.lab.quickstart import Setting, quickstart
from netmorph.models.registry import build
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.checkpoint import save

DATA = ("--data-name", "fashion-mnist-subset", "--accelerator", "cpu")


class Silent:
    def training(self, name, epochs):
        from contextlib import nullcontext

        return nullcontext()

    def morphed(self, result, changed, images):
        pass


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    """A checkpoint of `netmorph.save`, which holds no parity."""
    parent = build("netmorph:resnet8", width=4)
    x = torch.zeros(1, 3, 16, 16)
    result = morph(parent, {"layer1.*.conv1": "3x3 > 1x1 | 1x1", "layer2.0.conv2": "module_d"}, example_inputs=x)
    return save(result.model, tmp_path_factory.mktemp("saved") / "child")


@pytest.fixture(scope="session")
def morphed(tmp_path_factory) -> Path:
    """What `netmorph morph` writes."""
    out = tmp_path_factory.mktemp("morph") / "child"
    given = ["--model", "netmorph:resnet8", "--model-args.width=4", "--input-shape", "1,3,16,16", "--out", str(out)]
    assert main(["morph", *given, "--at", "layer1.*.conv1", "--to", "3x3 > 1x1 | id"]) == 0
    return out


@pytest.fixture(scope="session")
def quick(tmp_path_factory) -> Path:
    """A quickstart."""
    out = tmp_path_factory.mktemp("quick") / "run"
    quickstart(replace(Setting.quick(epochs=2), train=96, test=100), out, Silent())
    return out


@pytest.fixture(scope="session")
def fitted(tmp_path_factory) -> Path:
    """What `netmorph fit` writes."""
    out = tmp_path_factory.mktemp("fit") / "run"
    given = ["--model", "netmorph:resnet8", "--model-args.width=4", *DATA, "--epochs", "2", "--out", str(out)]
    limits = ["--train-limit", "64", "--test-limit", "32"]
    assert main(["fit", *given, *limits, "--at", "layer1.*.conv1", "--to", "3x3 > 1x1", "--grow-at", "1"]) == 0
    return out
