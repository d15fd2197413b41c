"""The zoo's rows: in one archive, from which its tables follow, and taken up by the next run."""

from pathlib import Path

import pytest
from benchmarks.zoo.rows import append, latest
from benchmarks.zoo.suites import SUITES
from benchmarks.zoo.table import write_table
from benchmarks.zoo.working import ARCHIVE, RUNS, rows_folder
from tools.archive import read, unpack

RESULTS = Path(__file__).parents[2] / "results" / "zoo"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    unpack(RESULTS / ARCHIVE, folder)
    return folder


@pytest.mark.parametrize("suite", SUITES)
def test_the_table_follows_from_the_rows(suite, kept, tmp_path):
    rows = latest(kept / f"{suite}.jsonl")
    listed = {entry.name for entry in SUITES[suite].entries()}
    if suite == "torchvision" and listed != set(rows):
        pytest.skip("another torchvision has other models")
    table = write_table(suite, kept / f"{suite}.jsonl", tmp_path)
    assert table.read_bytes() == (RESULTS / table.name).read_bytes()


def test_a_run_begins_with_what_the_archive_has_and_adds_to_it(tmp_path):
    with rows_folder(tmp_path) as runs:
        append(runs / "tiny.jsonl", {"model": "a"})
    (tmp_path / RUNS / "tiny.jsonl").unlink()  # as in a fresh clone

    def stopped():
        with rows_folder(tmp_path) as runs:
            assert list(latest(runs / "tiny.jsonl")) == ["a"]
            append(runs / "tiny.jsonl", {"model": "b"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert read(tmp_path / ARCHIVE) == {"tiny.jsonl": b'{"model": "a"}\n{"model": "b"}\n'}


def test_what_a_killed_run_added_is_taken_up_and_an_older_copy_is_not(tmp_path):
    with rows_folder(tmp_path) as runs:
        append(runs / "tiny.jsonl", {"model": "a"})
    old = (runs / "tiny.jsonl").read_bytes()
    append(runs / "tiny.jsonl", {"model": "b"})  # and the process is killed
    with rows_folder(tmp_path) as runs:
        assert list(latest(runs / "tiny.jsonl")) == ["a", "b"]
    (runs / "tiny.jsonl").write_bytes(old)  # the archive came from elsewhere
    with rows_folder(tmp_path) as runs:
        assert list(latest(runs / "tiny.jsonl")) == ["a", "b"]


def test_rows_that_the_archive_contradicts_are_not_lost(tmp_path):
    with rows_folder(tmp_path) as runs:
        append(runs / "tiny.jsonl", {"model": "a"})
    (runs / "tiny.jsonl").write_text('{"model": "c"}\n')
    before = (tmp_path / ARCHIVE).read_bytes()
    with pytest.raises(SystemExit, match="is not what .* holds and more"), rows_folder(tmp_path):
        raise AssertionError
    assert (runs / "tiny.jsonl").read_text() == '{"model": "c"}\n'
    assert (tmp_path / ARCHIVE).read_bytes() == before
