import csv
import sys
import types
from dataclasses import asdict, replace

import pytest

from netmorph.train.logs import METRICS, Logs
from netmorph.train.rows import EpochRow

ROW = EpochRow(1, 0.1, 2.0, 80.0, 2.1, 81.0, 3.5, 10, 1e3)


def table(folder):
    with (folder / METRICS).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def written(monkeypatch):
    """Stands for TensorBoard, which is not needed for the tests."""
    scalars = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            scalars.append((name, value, step))

        def flush(self):
            scalars.append("flushed")

        def close(self):
            scalars.append("closed")

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return scalars


@pytest.fixture
def no_tensorboard(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.mark.usefixtures("no_tensorboard")
def test_the_table_has_one_line_an_epoch(tmp_path):
    rows = [ROW]
    logs = Logs(tmp_path, rows)
    assert len(table(tmp_path)) == 1
    rows.append(replace(ROW, epoch=2, steps=20))
    logs.epoch(rows)
    logs.close()
    assert table(tmp_path) == [{key: str(value) for key, value in asdict(row).items()} for row in rows]
    assert [path.name for path in tmp_path.iterdir()] == [METRICS]


@pytest.mark.usefixtures("no_tensorboard")
def test_what_a_killed_run_wrote_beyond_its_checkpoint_goes(tmp_path):
    Logs(tmp_path, [ROW, replace(ROW, epoch=2)])
    assert len(table(tmp_path)) == 2
    Logs(tmp_path, [ROW])
    assert [line["epoch"] for line in table(tmp_path)] == ["1"]


def test_events_are_written_anew_by_a_resumed_run(tmp_path, written):
    old = tmp_path / "tensorboard" / "events.out.tfevents.123.host"
    other = tmp_path / "tensorboard" / "mine.txt"
    old.parent.mkdir()
    old.touch()
    other.touch()
    logs = Logs(tmp_path, [ROW])
    assert not old.exists()
    assert other.exists()
    assert ("test/loss", 2.1, 10) in written
    logs.epoch([ROW, replace(ROW, epoch=2, steps=20, test_error=70.0)])
    logs.close()
    assert ("test/error", 70.0, 20) in written
    assert ("epoch", 2, 20) in written
    assert ("samples_per_second", 1e3, 20) in written
    assert len(written) == 2 * (7 + 1) + 1
    assert written[-1] == "closed"
