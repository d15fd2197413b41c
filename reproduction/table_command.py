"""A table or figure of the paper as a command: what is trained, and what is written and printed of it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netmorph.cli.options import Text
from netmorph.cli.training import (
    AGAIN,
    add_data,
    add_machine,
    add_time_limit,
    data_loader,
    deadline,
    machine_of,
    require,
)
from netmorph.errors import NetmorphError

if TYPE_CHECKING:
    from reproduction.experiment import Experiment

__all__ = ["TableCommand", "add_running", "carry_out", "check_running"]

_DATA = {
    "table3": "cifar100",
    "table4": "cifar100",
    "figure5b": "cifar100",
    "table5": "imagenet",
    "figure6": "imagenet",
}


_HELP = """

The parent, the morphs and their controls are trained; the table is written beside the paper's, with pictures. The
folder may be stopped, or killed, at any moment; the same command goes on, and the table always shows what is finished.
Exit code 0: all is done; 75: --time-limit ended it, repeat the command.
"""


class TableCommand:
    """Runs one of the paper's tables or figures.

    Args:
        name: table1 ... table5, figure5 or figure6.
        about: what is in it.
    """

    def __init__(self, name: str, about: str) -> None:
        self.name = name
        self.__doc__ = about + _HELP

    def add_arguments(self, parser: Any) -> None:
        """Add the command's options."""
        parser.add_argument(
            "--rows",
            type=Text(),
            action="append",
            default=[],
            help="only rows of this name or pattern: 'morph20_*', or 'morph20_3c3@*', grown in phases; repeatable",
        )
        add_data(parser, None, "the paper's for the table")
        parser.add_argument(
            "--budget", type=str, default="short", help="how long to train: paper, medium, short, smoke, or a YAML file"
        )
        parser.add_argument("--no-controls", action="store_true", help="leave the controls out")
        add_running(parser, f"runs/{self.name}-DATA-BUDGET")

    def run(self, options: Any) -> int:
        """Run what is left, write the table, and say by the exit code whether all is done."""
        check_running(options)
        from reproduction.budget import load_budget
        from reproduction.experiment import make_experiment

        table = _table(self.name, options.data_name)
        data_name = options.data_name or _DATA.get(table, "cifar10")
        budget = load_budget(options.budget, table)
        experiment = make_experiment(
            table, budget, options.seeds, _rows(options.rows), controls=not options.no_controls
        )
        out = Path(options.out or f"runs/{table}-{data_name}-{budget.name}")
        return carry_out(experiment, data_name, out, options)


def add_running(parser: Any, folder: str) -> None:
    """Add how an experiment is run, whichever it is; ``folder`` is where by default."""
    parser.add_argument("--seeds", type=int, default=3, help="how many times all of it is done")
    parser.add_argument("--out", type=str | None, default=None, help=f"folder of the experiment (default: {folder})")
    parser.add_argument("--workers", type=int, default=1, help="how many trainings run at once")
    parser.add_argument(
        "--table-only", action="store_true", help="train nothing; write table and pictures of what is done"
    )
    add_machine(parser)
    add_time_limit(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def carry_out(experiment: Experiment, data_name: str, out: Path, options: Any) -> int:
    """Train what is left, report what is done, also where jobs failed, and return the exit code."""
    if options.table_only:
        return report(experiment, out, as_json=options.json)
    from reproduction.runner import JobsError

    try:
        _train(experiment, data_name, out, options)
    except JobsError:
        report(experiment, out, as_json=options.json)
        raise
    return report(experiment, out, as_json=options.json)


def check_running(options: Any) -> None:
    """Refuse, before any work, what `add_running` cannot mean."""
    if not options.table_only:
        require("lightning")
    deadline(options.time_limit)  # refuses one that makes no sense
    if options.workers < 1:
        raise NetmorphError(f"--workers is 1 or more, not {options.workers}")


def _table(name: str, data_name: str | None) -> str:
    """Return the experiment's name: figure 5 is (a) on CIFAR-10 and (b) on CIFAR-100."""
    if name != "figure5":
        return name
    return "figure5b" if data_name == "cifar100" else "figure5a"


def _rows(given: Any) -> list[str] | None:
    """Return the patterns of rows, however a config file writes them; None for all."""
    texts = given if isinstance(given, list) else [given]
    flat = [text for each in texts for text in (each if isinstance(each, list) else [each])]
    return flat or None


def _train(experiment: Experiment, data_name: str, out: Path, options: Any) -> None:
    """Run the trainings that are not done yet."""
    from reproduction.progress import showing
    from reproduction.runner import reproduce

    budget = experiment.budget
    data = data_loader(data_name, options, train_limit=budget.train_limit, test_limit=budget.test_limit)
    with showing(experiment, out, quiet=options.json) as listener:
        reproduce(
            experiment,
            data,
            out,
            workers=options.workers,
            time_limit=options.time_limit,
            machine=machine_of(options),
            listener=listener,
        )


def report(experiment: Experiment, out: Path, *, as_json: bool) -> int:
    """Write table and pictures, print the table, and return the exit code."""
    from reproduction.experiment_folder import check_folder
    from reproduction.figures import draw
    from reproduction.render import render

    check_folder(experiment, out)
    content = render(experiment, out)
    pictures = draw(experiment, out) if find_spec("matplotlib") is not None else []
    jobs = content["header"]["jobs"]
    complete = jobs["done"] == jobs["total"]
    if as_json:
        said = {"folder": str(out), "done": complete, "pictures": [str(path) for path in pictures]}
        print(json.dumps({**said, **content}, indent=2))
    else:
        _print(content, out, complete=complete)
    return 0 if complete else AGAIN


def _print(content: dict[str, Any], out: Path, *, complete: bool) -> None:
    """Print the errors beside the paper's and the controls' differences; the folder has the whole table."""
    from netmorph.cli.console import console, table
    from reproduction.render_text import error_table

    screen = console()
    heads, rows = error_table(content)
    screen.print(
        table(heads, rows, title="Test error, %: the row; the row minus each control (negative: better)", left=2)
    )
    jobs = content["header"]["jobs"]
    screen.print(f"{jobs['done']} of {jobs['total']} trainings are done. Written to {out}/table.md", soft_wrap=True)
    if find_spec("matplotlib") is None:
        screen.print("There are no pictures, since matplotlib is not installed: pip install matplotlib")
    if not complete:
        screen.print("Repeat the command to go on.")
