import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from netmorph.bounded import DEEPEST, open_regular, read_json, read_text
from netmorph.cli.options import read_graph
from netmorph.errors import NetmorphError
from netmorph.lab import fit_folder
from netmorph.lab.report.read import read_run
from netmorph.models.opening import load_weights
from netmorph.train.checkpoint import read_checkpoint
from netmorph.train.recipe import load_recipe
from reproduction.budget import load_budget
from reproduction.experiment_folder import check_folder
from reproduction.job import read_done


def test_text_and_json_are_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"é": [1, 2.5, null]}', encoding="utf-8")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_text(tmp_path / "b") == '{"é": [1, 2.5, null]}'
    assert read_json(tmp_path / "b") == {"é": [1, 2.5, None]}
    with open_regular(tmp_path / "b") as file:
        assert file.read(2) == b'{"'


def listening(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's name is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


ODD: dict[str, Callable[[Path], object]] = {
    "device": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "folder": os.mkdir,
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "it")
    for read in (open_regular, read_text, read_json):
        with pytest.raises(NetmorphError, match="it is not a regular file"):
            read(tmp_path / "it")


def test_sockets_cannot_be_opened(tmp_path: Path) -> None:
    listening(tmp_path / "it")
    with pytest.raises(OSError, match="No such device"):
        read_text(tmp_path / "it")


def test_sizes_are_bounded_whatever_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "exact").write_text("x" * 10)
    assert read_text(tmp_path / "exact", most=10) == "x" * 10
    with pytest.raises(NetmorphError, match="too large for such a file .9 bytes at most"):
        read_text(tmp_path / "exact", most=9)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(40 << 30)
    with pytest.raises(NetmorphError, match="too large for such a file"):
        read_json(tmp_path / "sparse")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_files_that_say_that_they_are_empty(tmp_path: Path) -> None:
    assert Path("/proc/self/maps").stat().st_size == 0
    with pytest.raises(NetmorphError, match="too large for such a file"):
        read_text(Path("/proc/self/maps"), most=100)


def nested(depth: int) -> str:
    return '{"a":[' * (depth // 2) + "]}" * (depth // 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (nested(DEEPEST + 2), "nested more than 64 deep"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("[" * 3_000 + "]" * 3_000, "nested more than 64 deep"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ('{"\\ud800": 1}', "surrogates not allowed"),
        ('["' + "9" * 10, "Unterminated string"),
        ("9" * 5_000, "Exceeds the limit"),
    ],
)
def test_json_that_is_none_is_a_value_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "it").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "it")


def report(folder: Path) -> object:
    (folder / "config.json").write_text("{}")
    return read_run(folder)


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "fit": ("it", lambda folder: fit_folder.read(folder / "it")),
    "job": ("done.json", read_done),
    "experiment": ("experiment.json", lambda folder: check_folder(None, folder)),
    "budget": ("it.yaml", lambda folder: load_budget(str(folder / "it.yaml"))),
    "recipe": ("it.yaml", lambda folder: load_recipe(folder / "it.yaml")),
    "checkpoint of a phase": ("last.ckpt", lambda folder: read_checkpoint(folder, {})),
    "weights": ("it.safetensors", lambda folder: load_weights(nn.Linear(1, 1), folder / "it.safetensors")),
    "graph": ("it.json", lambda folder: read_graph(str(folder / "it.json"))),
    "report": ("results.json", report),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
@pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)
def test_every_reader_refuses_them(
    tmp_path: Path, name: str, read: Callable[[Path], object], make: Callable[[Path], object]
) -> None:
    make(tmp_path / name)
    with pytest.raises(NetmorphError, match="not a regular file|is not a file|unknown recipe"):
        read(tmp_path)


def test_the_deepest_json(tmp_path: Path) -> None:
    (tmp_path / "it").write_text(nested(DEEPEST - 2))
    assert read_json(tmp_path / "it") == json.loads(nested(DEEPEST - 2))
    (tmp_path / "it").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="utf-8"):
        read_json(tmp_path / "it")
