"""The report as a file."""

from __future__ import annotations

from html import escape
from pathlib import Path

from netmorph._version import __version__
from netmorph.errors import NetmorphError
from netmorph.lab.report import again, parts
from netmorph.lab.report.page import page, section
from netmorph.lab.report.run import Run
from netmorph.whole_files import write_whole

__all__ = ["render", "write_report"]


def write_report(run: Run, out: Path | None = None) -> Path:
    """Write a report on a run.

    Args:
        run: what was read of its folder.
        out: the file; default: ``report.html`` in the folder.

    Returns:
        The file.

    Raises:
        NetmorphError: if the report cannot be written.
    """
    target = run.folder / "report.html" if out is None else out
    try:
        write_whole(target, render(run).encode("utf-8"))
    except OSError as error:
        raise NetmorphError(
            f"the report cannot be written to {target}: {error.strerror or error}",
            remedies=["choose another file with --out"],
        ) from error
    return target


def render(run: Run) -> str:
    """Return the report as HTML that needs nothing else."""
    name = run.parent["name"] if run.parent is not None else ""
    about = f"{name} · {run.folder.resolve().name}" if name else run.folder.resolve().name
    sections = [
        section("What was morphed", parts.modules(run)),
        section("Is the function the same?", parts.parity(run)),
        section("Cost", parts.costs(run)),
        section("What came out", parts.networks(run)),
        section("Training", parts.curves(run)),
        section("Slopes of the new activations", parts.slopes(run)),
        section("How to repeat the run", again.history(run)),
        section("Command and environment", again.environment(run)),
    ]
    head = f'<p class="soft">{escape(about)}</p>{parts.facts(run)}'
    return page(run.kind, head, sections, f"Made by netmorph {__version__}; this file needs no network.")
