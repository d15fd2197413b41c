"""The commands that the README shows can be read, and the experiments that they name exist."""

import re
import shlex
from pathlib import Path

import pytest

from netmorph.cli.program import make_parser
from reproduction.__main__ import ABOUT, COMMANDS, PROGRAM
from reproduction.budget import VARIANTS, load_budget, load_variants
from reproduction.experiment import make_experiment
from reproduction.explore import make_exploration

PAGE = (Path(__file__).parents[2] / "reproduction" / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\$ python -m reproduction ((?:[^>\n])*)", PAGE, re.MULTILINE)


def test_the_page_shows_both_kinds():
    assert {line.split()[0] for line in SHOWN} >= {"table1", "explore"}


def test_the_page_names_each_command():
    assert set(re.findall(r"`(?:python -m reproduction )?((?:table|figure)\d|explore|report)\b", PAGE)) == set(COMMANDS)


@pytest.mark.parametrize("line", SHOWN)
def test_a_shown_command_can_be_read(line):
    config = make_parser(PROGRAM, ABOUT, COMMANDS).parse_args(shlex.split(line))
    name, options = config.subcommand, config[config.subcommand]
    if name == "explore":
        assert options.print_variants or make_exploration(options.net, load_variants(VARIANTS), options.seeds).jobs
    else:
        table = name + "b" * (name == "figure5")
        rows = [row for given in options.rows for row in ([given] if isinstance(given, str) else given)]
        assert make_experiment(table, load_budget(options.budget), options.seeds, rows or None).jobs
