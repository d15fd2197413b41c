import csv
import json
import os
import sys

import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.lab.run_folder import environment, run_folder, write_csv, write_json
from netmorph.train.machine import Machine


def test_a_run_appears_whole(tmp_path):
    target = tmp_path / "runs" / "one"
    with run_folder(target) as draft:
        (draft.path / "file").write_text("x")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["file"]
    assert [path.name for path in target.parent.iterdir()] == ["one"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_run_leaves_nothing(tmp_path, error):
    def fail():
        with run_folder(tmp_path / "one") as draft:
            (draft.path / "file").write_text("x")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_named(tmp_path):
    (tmp_path / "one").mkdir()
    with run_folder(tmp_path / "one") as draft:
        (draft.path / "file").write_text("x")
    assert (tmp_path / "one" / "file").read_text() == "x"


def test_what_exists_is_not_overwritten(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "precious").write_text("x")
    with pytest.raises(NetmorphError, match="exists and is not empty.*--out"), run_folder(tmp_path / "one"):
        pytest.fail("the block must not run")
    assert (tmp_path / "one" / "precious").read_text() == "x"


def test_a_file_is_called_one(tmp_path):
    (tmp_path / "one").touch()
    with pytest.raises(NetmorphError, match="one is a file, not a folder"), run_folder(tmp_path / "one"):
        pytest.fail("the block must not run")


def test_a_run_whose_place_is_taken_meanwhile_lies_beside_it(tmp_path):
    target = tmp_path / "one"
    with run_folder(target) as first, run_folder(target) as second, run_folder(target) as third:
        for number, draft in enumerate((first, second, third), 1):
            (draft.path / "number").write_text(str(number))
    assert [draft.target.name for draft in (third, second, first)] == ["one", "one-2", "one-3"]
    assert {path.name: (path / "number").read_text() for path in tmp_path.iterdir()} == {
        "one": "3", "one-2": "2", "one-3": "1"
    }  # fmt: skip


def test_a_run_whose_place_became_a_file_lies_beside_it(tmp_path):
    with run_folder(tmp_path / "one"):
        (tmp_path / "one").touch()
    assert (tmp_path / "one-2").is_dir()


def test_a_place_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NetmorphError, match="cannot write into"), run_folder(tmp_path / "file" / "one"):
        pytest.fail("the block must not run")


def test_json_and_csv_read_back(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, 2.5], "y": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, 2.5], "y": None}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "b.json", {"x": float("nan")})
    write_csv(tmp_path / "a.csv", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    with (tmp_path / "a.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]


def test_the_environment_is_json_and_names_versions_and_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/bin/netmorph", "quickstart", "--seed", "3"])
    found = json.loads(json.dumps(environment()))
    assert found["command"] == ["netmorph", "quickstart", "--seed", "3"]
    assert found["versions"]["torch"]
    assert found["cores"] == os.cpu_count()
    assert found["processor"]


def test_the_environment_of_a_training_says_its_arithmetic_and_no_gpu_that_it_did_not_use(monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device("mps"))
    assert environment()["accelerator"] == environment(Machine())["accelerator"] == "mps"
    found = environment(Machine(accelerator="cpu", precision="bf16-mixed", compile="default"))
    assert found["accelerator"] is None
    assert found["training"] == {"precision": "bf16-mixed", "compile": "default"}
    assert "training" not in environment()
