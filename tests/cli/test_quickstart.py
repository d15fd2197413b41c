import csv
import json
import signal
import subprocess
import sys
import time

import pytest

from netmorph.cli import training
from netmorph.cli.main import main
from netmorph.lab.quickstart import Setting
from netmorph.models.opening import load

COMMAND = [sys.executable, "-m", "netmorph.cli.main", "quickstart", "--quick"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    done = subprocess.run([*COMMAND, "--out", "run"], cwd=folder, capture_output=True, text=True, check=False)
    return done, folder / "run"


def test_it_prints_parity_table_reading_and_folder(ran):
    done, _ = ran
    assert done.returncode == 0, done.stderr
    for said in (
        "conv2",
        "3x3:4x > 3x3",
        "classification became right or wrong: 0 of 500",
        "parent, trained on",
        "from scratch, longer",
        "The child against the parent trained on, at the same compute:",
        "from scratch, at the same further compute:",
        "from scratch, at the same compute in all:",
        "the results are meaningless",
        "Written to run",
    ):
        assert said in done.stdout


def test_piped_output_is_plain(ran):
    done, _ = ran
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert "Warning" not in done.stderr


def test_the_folder_holds_all_there_is_to_know(ran):
    _, folder = ran
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.csv", "results.json", "curves.png", "child"
    }  # fmt: skip
    assert [path.name for path in folder.parent.iterdir()] == ["run"]
    config = json.loads((folder / "config.json").read_text())
    assert config["setting"]["seed"] == 0
    assert config["versions"]["torch"]
    assert config["command"][1:3] == ["quickstart", "--quick"]
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["epoch"]) for row in rows] == [
        *(("parent", str(epoch)) for epoch in range(1, 5)), ("child", "5"),
        *(("parent, trained on", str(epoch)) for epoch in range(5, 10)), ("from scratch", "1"),
        ("from scratch, longer", "1"), ("from scratch, longer", "2"),
    ]  # fmt: skip
    results = json.loads((folder / "results.json").read_text())
    assert all(max(site["interior"], site["border"]) <= site["tolerance"] for site in results["parity"]["sites"])
    errors = {row["name"]: row["error"] for row in results["networks"]}
    assert float(rows[4]["test_error"]) == pytest.approx(errors["child"])


def test_json_is_all_that_is_printed(tmp_path, capsys):
    assert main(["quickstart", "--quick", "--json", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "run" / "results.json").read_text()
    assert {row["name"] for row in json.loads(printed)["networks"]} > {"parent", "child"}


def test_a_run_whose_folder_is_taken_meanwhile_says_where_it_is(tmp_path, capsys, monkeypatch):
    from netmorph.lab import quickstart as module

    write = module._write

    def meanwhile(*given):
        (tmp_path / "run" / "child").mkdir(parents=True)
        write(*given)

    monkeypatch.setattr(module, "_write", meanwhile)
    assert main(["quickstart", "--quick", "--json", "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    assert said.out == (tmp_path / "run-2" / "results.json").read_text()
    assert f"{tmp_path / 'run'} was taken by another run; this run is in {tmp_path / 'run-2'}" in said.err


def test_the_child_can_be_loaded_by_its_name(ran):
    _, folder = ran
    results = json.loads((folder / "results.json").read_text())
    child = load(folder / "child")
    params = {row["name"]: row["params"] for row in results["networks"]}
    assert sum(p.numel() for p in child.parameters()) == params["child"] > params["parent"]


def test_ctrl_c_leaves_nothing(tmp_path):
    # A process started in the background may have been told to ignore the signal: undo that.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from netmorph.cli.main import main\n"
        "sys.exit(main(['quickstart', '--quick', '--epochs', '50', '--out', 'run']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert any(line.startswith("parent: epoch 1") for line in process.stdout)
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert error.splitlines()[-1] == "netmorph: interrupted; no file was left half-written"
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["lightning", "matplotlib"])
def test_a_missing_package_is_told_before_any_work(package, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(training, "find_spec", lambda name: None if name == package else True)
    assert main(["quickstart", "--quick"]) == 2
    assert f"{package} is not installed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_tells_the_true_default(capsys):
    with pytest.raises(SystemExit):
        main(["quickstart", "--help"])
    assert f"(default: {Setting().epochs})" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--seed", "-1"], "--seed"),
        (["--out", "file/run"], "cannot write"),
    ],
)
def test_wrong_input_is_one_message(arguments, said, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main(["quickstart", "--quick", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
