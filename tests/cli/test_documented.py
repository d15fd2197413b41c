"""The commands that the documents show can be read, and what they name exists."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from netmorph.cli import fit
from netmorph.cli.main import ABOUT, commands
from netmorph.cli.program import make_parser
from netmorph.lab.fit_growth import check_growth
from netmorph.lab.fit_phases import read_phases
from netmorph.models.registry import build

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\$ netmorph (fit .*)$", PAGE, re.MULTILINE)


@pytest.fixture(autouse=True)
def _config(tmp_path):
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "fit.yaml").write_text(block)


def test_the_page_shows_commands():
    assert len(SHOWN) >= 4


@pytest.mark.parametrize("line", SHOWN)
def test_a_shown_command_can_be_read(line):
    options = make_parser("netmorph", ABOUT, commands()).parse_args(shlex.split(line)).fit
    phases = fit._phases(options)
    assert options.model.startswith(("netmorph:resnet20", "run/model"))
    assert sum(phase.recipe.epochs for phase in phases) >= 4


def test_the_shown_config_has_the_phases_that_the_page_tells_of(tmp_path):
    shown = yaml.safe_load((tmp_path / "fit.yaml").read_text())
    assert [phase["epochs"] for phase in shown["phases"]] == [8, 4, 4]
    check_growth(build(shown["model"]), read_phases(shown["phases"], shown["recipe"], {}))
