"""`python -m reproduction` as a program: its help, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.odd_values import LONG, assert_no_value_is_our_fault, assert_quoted_briefly

from reproduction.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "lightning", "torchvision", "networkx", "matplotlib", "rich.progress")


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys\nfrom reproduction.__main__ import main\n"
        f"try:\n    main({arguments})\nexcept SystemExit as error:\n    assert error.code == 0\n"
        f"print('HEAVY', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("usage: python -m reproduction")
    assert ran.stdout.endswith("HEAVY []\n")


def test_it_runs_from_a_clone():
    command = [sys.executable, "-m", "reproduction", "table9"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert ran.stderr.startswith("reproduction: ")
    assert "see python -m reproduction --help" in ran.stderr
    assert "table1" in ran.stderr


@pytest.mark.parametrize("arguments", [[LONG], ["table1", "--budget", LONG], ["explore", LONG], ["report", LONG]])
def test_what_a_user_gave_is_quoted_briefly(arguments, capsys):
    assert_quoted_briefly(main, arguments, capsys)


@pytest.mark.parametrize(
    "command", [["table1", "--budget", "bomb.yaml"], ["explore", "morph20_1c1", "--variants", "bomb.yaml"]]
)
def test_yaml_that_stands_for_a_billion_values_is_refused(command, tmp_path, capsys):
    lines = ["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))]
    (tmp_path / "bomb.yaml").write_text("\n".join([*lines, "lr: *a9"]))
    assert main(command) == 2
    assert "uses YAML aliases (*name). Remedy: write out what they stand for." in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        *(["table1", "--table-only", option] for option in ("--rows", "--budget", "--time-limit")),
        ["explore", "morph20_1c1", "--table-only", "--variants"],
        ["report", "nowhere", "--out"],
    ],
    ids=lambda line: f"{line[0]} {line[-1]}",
)
def test_no_odd_value_is_a_fault_of_ours(line, capsys):
    assert_no_value_is_our_fault(main, line, capsys)
