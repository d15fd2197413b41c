"""Every benchmark runs, and its JSON says what was measured, on what; no time is asserted."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.measure import Ratio, Times, race
from benchmarks.report import Report, Target

from benchmarks import page, report

ROOT = Path(__file__).parent.parent.parent
FIELDS = {"benchmark", "question", "quick", "machine", "threads", "device", "date", "seconds", "load", "rows"}


@pytest.mark.parametrize("name", page.ORDER)
def test_quick_run(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / f"{name}.json").read_text())
    assert set(data) >= FIELDS | {"targets", "notes"}
    assert data["benchmark"] == name
    assert (data["quick"], data["complete"]) == (True, True)
    assert {"torch", "python", "netmorph", "processor", "memory_gib"} <= set(data["machine"])
    assert data["rows"]
    assert data["targets"]
    for target in data["targets"]:
        assert set(target) == {"what", "value", "limit", "sense", "error", "met"}
        assert target["value"] is not None
        assert target["what"] in done.stdout.replace("\\|", "|")
    text = page.page(tmp_path)
    assert importlib.import_module(f"benchmarks.{name}").QUESTION in text
    assert all(note in text for note in data["notes"])


def test_missed_targets_are_marked_and_reached_ones_are_not() -> None:
    below, above = Target("b", 1.0, 2.0), Target("a", 3.0, 2.0)
    assert (below.met, above.met) == (True, False)
    assert (Target("b", 1.0, 2.0, "at least").met, Target("a", 3.0, 2.0, "at least").met) == (False, True)
    assert Target("within the error", 2.1, 2.0, error=0.2).met
    assert not Target("unknown", None, 2.0).met
    rows = report.target_rows([{**vars(each), "met": each.met} for each in (below, above)])
    assert [report.MISSED in row[""] for row in rows] == [False, True]


def test_rivals_take_turns() -> None:
    calls: list[str] = []
    times = race({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b"]  # once to warm up; then each round begins with another
    assert [len(each.seconds) for each in times.values()] == [3, 3]


def test_ratios_are_paired() -> None:
    slow_machine = [1.0, 2.0, 3.0, 4.0]
    ratio = Ratio.of(Times(tuple(1.5 * s for s in slow_machine)), Times(tuple(slow_machine)))
    assert (ratio.median, ratio.spread) == (1.5, 0.0)
    assert Times(tuple(slow_machine)).spread == pytest.approx(1.5 / 2.5)


def test_tables_split_where_the_first_column_changes_and_escape_bars() -> None:
    text = report.tables([{"a": 1.0, "b": "x | y"}, {"a": 2.0}, {"c": True}])
    assert text.split("\n\n")[0].splitlines() == ["| a | b |", "| ---: | --- |", "| 1 | x \\| y |", "| 2 |  |"]
    assert text.split("\n\n")[1].splitlines()[-1] == "| yes |"


def test_a_report_is_written_aside_and_renamed(tmp_path: Path) -> None:
    found = Report("name", "why?", quick=True, threads=1)
    found.row(size=1, seconds=0.5)
    path = found.write(tmp_path)
    assert json.loads(path.read_text())["rows"] == [{"size": 1, "seconds": 0.5}]
    assert [each.name for each in tmp_path.iterdir()] == ["name.json"]
