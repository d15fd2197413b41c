"""Phases that grow to the paper's networks by name."""

import json
from contextlib import contextmanager

import pytest
import torch

from netmorph.data.sources import load_data
from netmorph.errors import NetmorphError
from netmorph.lab.fit_growth import Given, check_growth, grown_for, parity_of_steps
from netmorph.lab.fit_phases import FitPhase, read_phases
from netmorph.lab.fit_setting import RunSetting
from netmorph.lab.report.read import read_run
from netmorph.lab.training_run import training_run
from netmorph.models.opening import load
from netmorph.models.paper import name_of
from netmorph.models.registry import build
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe

RECIPE = Recipe(epochs=1, batch_size=16, lr=0.01, pad=1)


def phases(*names):
    """Phases by what they grow to, None for no growth, a pair for sites."""
    made = [{} if n is None else {"at": n[0], "to": n[1]} if isinstance(n, tuple) else {"grow": n} for n in names]
    return read_phases(made, "smoke", {"batch_size": 16})


class Quiet:
    def __init__(self):
        self.steps = []

    @contextmanager
    def training(self, name, epochs):
        yield None

    def morphed(self, result):
        self.steps.append(result)


@pytest.fixture(scope="module")
def data():
    return load_data("fashion-mnist-subset", train_limit=32, test_limit=16)


@pytest.fixture(scope="module")
def grown(data, tmp_path_factory):
    out, listener = tmp_path_factory.mktemp("grown") / "run", Quiet()
    plan = phases(None, "morph20_1c1_half", ("layer1.0.conv1", "3x3 > 1x1"), "morph20_3c1_2branch_half")
    setting = RunSetting("netmorph:resnet20", plan, {"width": 4})
    return out, training_run(setting, data, out, listener, machine=Machine(accelerator="cpu")), listener


def test_each_phase_ends_in_the_network_that_it_names(grown):
    out, results, _ = grown
    assert name_of(load(out / "phase-2" / "model"), 20) == "morph20_1c1_half"
    assert name_of(load(out / "model"), 20) == "morph20_3c1_2branch_half"
    assert [morph["phase"] for morph in results["morphs"]] == [2, 3, 4]
    setting = json.loads((out / "config.json").read_text())["setting"]
    assert [phase.get("grow") for phase in setting["phases"]] == [
        None, "morph20_1c1_half", None, "morph20_3c1_2branch_half"
    ]  # fmt: skip


def test_every_step_of_a_growth_is_exact_and_written_down(grown):
    _, results, listener = grown
    assert len(listener.steps) == 1 + 1 + 2  # the last one: what is fresh, then the blocks that are morphed already
    last = results["morphs"][-1]
    assert last["cost"]["before"] == results["morphs"][-2]["cost"]["after"]
    assert last["cost"]["after"]["params"] == results["params"]
    assert {site["status"] for site in last["sites"]} == {"grown", "EXACT"}
    for morph in results["morphs"]:
        assert all(max(site["interior"], site["border"]) <= site["tolerance"] for site in morph["sites"])


def test_the_report_reads_such_a_run(grown):
    run = read_run(grown[0])
    assert [parity.title for parity in run.parity] == [f"morph before phase {number}" for number in (2, 3, 4)]
    assert all(site.graph for _, site in run.sites)


def test_what_was_resumed_is_grown_from_the_network_that_it_is():
    model = build("netmorph:morph14_1c1", width=4)
    given = Given(torch.randn(2, 3, 16, 16), [torch.randn(4, 3, 16, 16)], 0, None, None, keep_parent=False)
    (step,) = grown_for(FitPhase(RECIPE, grow="morph14_3c1"), model, given)
    assert name_of(step.model, 14) == "morph14_3c1"
    found = parity_of_steps([step])
    assert found["outputs_max_abs"] == step.parity.max_abs
    assert len(found["sites"]) == 3
    with pytest.raises(NetmorphError, match="is a morph14_3c1 already"):
        grown_for(FitPhase(RECIPE, grow="morph14_3c1"), step.model, given)


@pytest.mark.parametrize(
    ("model", "names", "said"),
    [
        ("resnet14", ["morph20_1c1"], "phase 1: the network is neither a resnet20"),
        ("morph14_3c1", [None, "morph14_1c1"], "phase 2: morph14_1c1 cannot be grown from morph14_3c1"),
        ("resnet14", ["morph14_1c1", "morph20_1c1"], "phase 2: morph20_1c1 cannot.*their depths differ"),
        ("resnet20", ["morph20_1c1", "morph20_1c1_half"], "phase 2: .*less than that"),
        ("resnet20", ["morph20_1c1", None, "morph20_1c1"], "phase 3: .*is a morph20_1c1 already"),
        ("morph14_1c1", ["morph14_1c1_half"], "is a morph14_1c1_half already"),
        ("resnet14", [("layer*.1.shortcut", "morph_1c1"), "morph14_3c1", "morph14_1c1"], "phase 3: "),
    ],
)
def test_what_cannot_be_grown_is_found_before_any_training(model, names, said):
    with pytest.raises(NetmorphError, match=said):
        check_growth(build(f"netmorph:{model}", width=4), phases(*names))


def test_after_sites_only_the_network_itself_tells():
    check_growth(build("netmorph:resnet14", width=4), phases(("layer1.1.shortcut", "morph_1c1"), "morph14_1c1"))
    check_growth(torch.nn.Linear(2, 2), phases(None, ("", "1 > 1")))


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ({"grow": "morph20"}, "phase 1: 'morph20' is not a network of the paper"),
        ({"grow": "resnet20"}, "phase 1: resnet20 is a parent"),
        ({"grow": "morph8_1c1"}, "phase 1: 'morph8_1c1': every stage"),
        ({"grow": 20}, "phase 1: grow must be the name"),
        ({"grow": "morph20_1c1", "at": "fc", "to": "1 > 1"}, "phase 1: grow and at exclude each other"),
    ],
)
def test_names_that_are_none_are_refused(phase, said):
    with pytest.raises(NetmorphError, match=said):
        read_phases([phase], "smoke", {})
