"""Odd values for options of every kind end with code 0 or 2 and a short message, never in a fault of our own."""

import pytest
from tests.cli.odd_values import assert_no_value_is_our_fault

from netmorph.cli.main import main

SITE = ["--model", "netmorph:resnet8", "--input-shape", "1,3,8,8", "--at", "fc", "--to", "1 > 1"]
LINES = [
    *(["plan", *SITE, option] for option in ("--at", "--to", "--model-args", "--model-args.num_classes", "--weights")),
    *(["show", "id", option] for option in ("--kernel", "--groups", "--out", "--config")),
    ["verify", "netmorph:resnet8", "netmorph:resnet8", "--input-shape", "1,3,8,8", "--tolerance"],
    *(["fit", "--model", "netmorph:resnet8", "--out", "/dev/null/x", option] for option in ("--recipe", "--grow-at")),
    ["report", "nowhere", "--out"],
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line[0]} {line[-1]}")
def test_no_value_is_a_fault_of_netmorphs_own(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert_no_value_is_our_fault(main, line, capsys)
