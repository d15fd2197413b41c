"""A checkpoint is hostile: sixty forged folders, opened by Python and by the commands, under Python's audit hooks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.forged import KINDS

import netmorph as nm

FORGED = [f"{kind}: {name}" for kind, forges in KINDS.items() for name in forges]
DRAWN = ("arguments: ", "names: ", "huge parents: ", "nesting: module", "graphs: 1,000 edges")  # reports build nothing
MOST_MIB = 200


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Try all folders in one process, a clean one: its memory and its imports are counted."""
    where = tmp_path_factory.mktemp("forged")
    parent = nm.build("netmorph:resnet8", width=4)
    mapping = {"layer1.*.conv1": "3x3 > 1x1"}
    nm.save(nm.morph(parent, mapping, example_inputs=torch.randn(1, 3, 16, 16)).model, where / "good")
    script = Path(__file__).with_name("audited.py")
    root = script.parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    command = [sys.executable, "-W", "ignore", str(script), str(where / "good"), str(where), str(where / "out.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=where)
    assert done.returncode == 0, done.stderr[-2000:]
    content: dict[str, Any] = json.loads((where / "out.json").read_text())
    return content


def test_the_good_folder_is_opened(found: dict[str, Any]) -> None:
    assert [way["code"] for way in found["good"].values()] == [0, 0, 0], found["good"]


@pytest.mark.parametrize("folder", FORGED)
def test_a_forged_folder_is_refused_and_costs_nothing(found: dict[str, Any], folder: str) -> None:
    ways = found[folder]
    for way, told in ways.items():
        assert told["events"] == [], way
        assert told["grown_mib"] < MOST_MIB, (way, told)
        assert told["code"] == 2 or (way == "report" and folder.startswith(DRAWN)), (way, told)
        assert len(told["said"]) < 2_000, way
    assert ways["verify"]["said"].splitlines() == [f"netmorph: {ways['load']['said']}"]
    assert "Traceback" not in ways["report"]["said"]
    assert len(ways["report"]["said"].splitlines()) <= 1


def test_what_is_forbidden_would_be_heard(found: dict[str, Any]) -> None:
    heard = found["control"]
    assert {"socket.connect", "pickle.find_class", "os.system", "subprocess.Popen"} <= set(heard), heard
    assert "import of netmorph_evil" in heard


def test_each_kind_has_its_folders() -> None:
    assert len(KINDS) == 7
    assert len(FORGED) >= 50
