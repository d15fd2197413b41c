"""An experiment of the paper from the command line, on a few bundled images."""

import json

import pytest
from tests.reproduction.running import BUDGET, TINY

from netmorph.cli import training
from reproduction import table_command as command
from reproduction.__main__ import main
from reproduction.progress import _Bars, _Lines
from reproduction.table_command import _table


@pytest.fixture
def reproduce(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(BUDGET)

    def run(*arguments, code=0):
        assert main([*TINY, "--budget", "tiny.yaml", "--out", "out", *arguments]) == code
        return capsys.readouterr()

    return run


def test_it_trains_writes_the_table_and_does_nothing_twice(reproduce, tmp_path):
    out = reproduce().out
    for said in ("s0-resnet20: started", "(2 of 2)", "morph20_1c1", "7.35", "2 of 2 trainings", "out/table.md"):
        assert said in out
    assert "\x1b" not in out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"experiment.json", "jobs", "table.md", "table.json", "curves.svg", "curves.png"}
    page = (tmp_path / "out" / "table.md").read_text()
    assert "held in 1 of 1 growths" in page
    before = (tmp_path / "out" / "table.json").read_bytes()
    again = reproduce("--json").out
    assert "started" not in again
    assert (tmp_path / "out" / "table.json").read_bytes() == before
    content = json.loads(again)
    assert content["done"] is True
    assert content["rows"][1]["figures"]["params_mib"]["difference"] < 0.05  # of grey images
    assert reproduce("--table-only").out.endswith("2 of 2 trainings are done. Written to out/table.md\n")


def test_the_table_of_another_budget_is_not_written(reproduce, tmp_path):
    reproduce("--time-limit", "1e-6", code=75)
    page = (tmp_path / "out" / "table.md").read_text()
    told = reproduce("--table-only", "--budget", "paper", code=2).err
    assert "another budget [tiny there, paper here]" in told
    (tmp_path / "tiny.yaml").write_text(BUDGET.replace("32", "33"))
    assert "both tiny, which says train_limit differently" in reproduce("--table-only", code=2).err
    assert (tmp_path / "out" / "table.md").read_text() == page


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--table-only"], "there is no experiment in out"), ([], "holds no experiment")]
)
def test_a_folder_of_something_else_is_left_as_it_is(reproduce, tmp_path, arguments, said):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    assert said in reproduce(*arguments, code=2).err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


@pytest.mark.parametrize("text", ["[]", "{}", "no JSON", '{"budget": []}'])
def test_a_damaged_description_of_the_experiment_is_told(reproduce, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "experiment.json").write_text(text)
    for arguments in ([], ["--table-only"]):
        assert "out cannot be used: " in reproduce(*arguments, code=2).err


def test_a_time_limit_exits_with_75_and_shows_what_is_done(reproduce, tmp_path):
    out = reproduce("--time-limit", "1e-6", code=75).out
    assert "0 of 2 trainings are done" in out
    assert "Repeat the command" in out
    assert "Trainings done: 0 of 2" in (tmp_path / "out" / "table.md").read_text()


def test_json_says_whether_all_is_done(reproduce):
    content = json.loads(reproduce("--time-limit", "1e-6", "--json", code=75).out)
    assert content["done"] is False
    assert content["header"]["jobs"] == {"done": 0, "total": 2}
    assert content["pictures"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["table1", "--rows", "morph21*"], "has no row 'morph21*'"),
        (["table1", "--budget", "huge"], "there is no budget 'huge'"),
        (["table1", "--seeds", "0"], "a seed or more"),
        (["table1", "--workers", "0"], "--workers is 1 or more"),
        (["table1", "--time-limit", "-1"], "--time-limit must be positive"),
        (["table1", "--data-name", "cifar"], "unknown data set 'cifar'"),
        (["table1", "--data", "nowhere", "--budget", "smoke"], "nowhere"),
        (["table1", "--table-only"], "there is no experiment in runs/table1-cifar10-short"),
        (["table4", "--table-only"], "there is no experiment in runs/table4-cifar100-short"),
        (["figure6", "--table-only"], "there is no experiment in runs/figure6-imagenet-short"),
    ],
)
def test_wrong_input_is_one_message(arguments, said, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_figure_5_is_that_of_the_data():
    assert [_table("figure5", name) for name in (None, "cifar10", "cifar100")] == ["figure5a", "figure5a", "figure5b"]
    assert _table("figure6", "cifar100") == "figure6"


def test_lightning_is_missed_before_any_work(reproduce, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    assert "lightning is not installed" in reproduce(code=2).err
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_there_is_a_table_and_no_pictures(reproduce, monkeypatch, tmp_path):
    reproduce("--time-limit", "1e-6", code=75)
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert "matplotlib is not installed: pip install matplotlib" in reproduce("--table-only", code=75).out
    assert (tmp_path / "out" / "table.md").exists()


def test_a_pipe_hears_of_each_job_and_of_epochs_now_and_then(capsys, monkeypatch):
    listener = _Lines(1, 3)
    listener.started("a")
    listener.epoch("a", 1, 5, 50.0)
    listener.spoke -= 60
    listener.epoch("a", 2, 5, 40.0)
    listener.finished("a", 30.0)
    listener.paused("b")
    listener.failed("c", "why")
    assert capsys.readouterr().out.splitlines() == [
        "a: started",
        "a: epoch 2/5, test error 40.00 %",
        "a: done, test error 30.00 % (2 of 3)",
        "b: the time is up",
        "c: failed: why",
    ]


def test_a_terminal_has_a_bar_for_each_running_job():
    import io

    from rich.console import Console
    from rich.progress import Progress, TextColumn

    screen = Console(file=io.StringIO(), width=120)
    progress = Progress(TextColumn("{task.fields[note]}"), console=screen)
    bars = _Bars(progress, 1, 3)
    bars.started("a")
    bars.started("b")
    bars.epoch("a", 2, 5, 40.0)
    assert [(task.description, task.completed, task.total) for task in progress.tasks] == [
        ("trainings done", 1, 3), ("a", 2, 5), ("b", 0, None)
    ]  # fmt: skip
    bars.finished("a", 30.0)
    bars.failed("b", "why [not]")
    assert [(task.description, task.completed) for task in progress.tasks] == [("trainings done", 2)]
    assert screen.file.getvalue() == "a: test error 30.00 %\nb failed: why [not]\n"
