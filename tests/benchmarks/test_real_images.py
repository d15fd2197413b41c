"""The folder of CIFAR-10 comes from an option or the environment; a wrong one is refused at once."""

from pathlib import Path

import pytest
from benchmarks.real_images import VARIABLE, image_options
from benchmarks.report import Report
from benchmarks.report import run as run_benchmark


def run(arguments: list[str], out: Path) -> list[Path | None]:
    seen: list[Path | None] = []

    def measure(report: Report, cifar: Path | None) -> None:
        assert report.quick
        seen.append(cifar)

    run_benchmark("name", "why?", measure, ["--quick", "--out", str(out), *arguments], [image_options()])
    return seen


def test_the_folder_of_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert run([], tmp_path) == [None]
    assert run(["--cifar", str(tmp_path)], tmp_path) == [tmp_path]
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert run([], tmp_path) == [tmp_path]


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--cifar", str(tmp_path / "none")], tmp_path)
    assert "there is no folder" in capsys.readouterr().err
