"""What runs wrote, packed: nothing is lost, and equal files make equal archives."""

import os

from tools.archive import pack, read, unpack
from tools.keep_results import JOBS, keep

PATTERNS = ("jobs/*/done.json", "jobs/*.txt")


def lay_out(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} ü")
    return folder


def test_an_archive_has_what_matches_in_order_and_gives_it_back(tmp_path):
    run = lay_out(tmp_path / "run", ["jobs/b/done.json", "jobs/a/done.json", "jobs/a/log", "jobs/data.txt"])
    pack(run, PATTERNS, tmp_path / "a.tar.xz")
    found = read(tmp_path / "a.tar.xz")
    assert list(found) == ["jobs/a/done.json", "jobs/b/done.json", "jobs/data.txt"]
    unpack(tmp_path / "a.tar.xz", tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in found} == found
    assert found["jobs/data.txt"] == (run / "jobs/data.txt").read_bytes()


def test_the_bytes_depend_on_nothing_else(tmp_path):
    names = ["jobs/b/done.json", "jobs/a/done.json"]
    pack(lay_out(tmp_path / "one", names), PATTERNS, tmp_path / "one.tar.xz")
    other = lay_out(tmp_path / "other", reversed(names))
    os.utime(other / names[0], (1, 1))
    (other / names[1]).chmod(0o600)
    pack(other, PATTERNS, tmp_path / "other.tar.xz")
    assert (tmp_path / "one.tar.xz").read_bytes() == (tmp_path / "other.tar.xz").read_bytes()


def test_of_an_experiment_the_table_its_pictures_and_the_done_jobs_are_kept(tmp_path):
    shown = ["experiment.json", "table.md", "table.json", "curves.svg", "figure5a.png"]
    run = lay_out(tmp_path / "run", [*shown, ".lock", "jobs/data.txt", "jobs/a/done.json", "jobs/a/network/x.json"])
    keep(run, tmp_path / "kept")
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {*shown, JOBS}
    assert set(read(tmp_path / "kept" / JOBS)) == {"jobs/data.txt", "jobs/a/done.json"}
