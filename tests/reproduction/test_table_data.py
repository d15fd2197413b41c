"""Experiments on the paper's other data sets, tiny ones in their layouts: ImageNet's folders, CIFAR-100 in Parquet."""

import json

import pytest
from tests.data.pictures import pixels, write_folders, write_parquet

from reproduction.__main__ import main
from reproduction.experiment import NET2NET, ON, PLAIN, SCRATCH

TINY = """
first: {epochs: 1, batch_size: 4, lr: 0.01, pad: 1}
next: {epochs: 1, batch_size: 4, lr: 0.01, pad: 1}
warm_batches: 1
"""


def reproduce(capsys, *arguments):
    assert main([*arguments, "--seeds", "1", "--accelerator", "cpu", "--out", "out", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def check(found, paper, digits):
    """Assert that a figure of ours stands beside the paper's."""
    assert found["paper"] == paper
    assert found["difference"] == pytest.approx(found["ours"]["mean"] - paper, abs=10**-digits)


def test_table_5_has_both_errors_of_images_in_folders(capsys, tmp_path):
    write_folders(tmp_path / "photos", each=1)
    rows = ["--rows", "resnet18", "--rows", "morph18_1c1", "--no-controls"]
    content = reproduce(capsys, "table5", *rows, "--data", "photos", "--budget", "smoke")
    assert content["done"] is True
    assert "photos (2 classes)" in (tmp_path / "out" / "table.md").read_text()
    for row, one, ten, flop in zip(content["rows"], (32.56, 31.69), (30.86, 29.9), (1.814, 1.917), strict=True):
        check(row["figures"]["error_1view"], one, 2)
        check(row["figures"]["error_10view"], ten, 2)
        assert {row["figures"][f"error_{n}view"]["ours"]["mean"] for n in (1, 10)} <= {0.0, 50.0, 100.0}
        assert row["figures"]["flop_g"]["ours"]["mean"] == pytest.approx(flop, abs=1.1e-3)  # two classes, not 1,000
    assert content["parity"]["growths"] == 1
    assert content["parity"]["max_rel"] < 1e-5


def test_table_3_learns_from_parquet_files(capsys, tmp_path):
    for split, n in (("train", 8), ("test", 6)):
        columns = {"fine_label": [7 * k for k in range(n)], "coarse_label": [k % 20 for k in range(n)]}
        write_parquet(tmp_path / "cifar100" / f"{split}-0.parquet", pixels(n), columns, "JPEG")
    (tmp_path / "tiny.yaml").write_text(TINY)
    rows = ["--rows", "resnet20", "--rows", "morph20_1c1"]
    given = ["--data-name", "cifar100", "--data", "cifar100", "--budget", "tiny.yaml"]
    content = reproduce(capsys, "table3", *rows, *given)
    assert content["done"] is True
    assert "CIFAR-100 (JPEG)" in (tmp_path / "out" / "table.md").read_text()
    for row, error, params, flop in zip(content["rows"], (32.82, 31.7), (1.07, 1.16), (40.8, 44.0), strict=True):
        check(row["figures"]["error"], error, 2)
        assert row["figures"]["params_mib"]["ours"]["mean"] == pytest.approx(params, abs=0.01)
        assert row["figures"]["flop_m"]["ours"]["mean"] == pytest.approx(flop, abs=0.1)
    assert set(content["rows"][1]["controls"]) == {ON, SCRATCH, PLAIN, NET2NET}
    assert content["parity"]["growths"] == 2  # the morph, and the control that Net2Net deepens
    assert content["parity"]["max_rel"] < 1e-5
