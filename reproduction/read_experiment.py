"""What `netmorph.lab.report` shows, read from the folder of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netmorph.bounded import read_text
from netmorph.errors import NetmorphError
from netmorph.lab.report.read import read_file, reading, sites_of
from netmorph.lab.report.run import MorphParity, Run, SiteFigures
from netmorph.surgery.records.checkpoint import CONFIG, describe
from netmorph.surgery.records.morphed_site import MorphedSite
from reproduction.experiment_folder import IDENTITY, JOBS
from reproduction.job import DONE, read_done
from reproduction.markdown import to_html

__all__ = ["read_experiment"]


def read_experiment(folder: Path) -> Run:
    """Read what an experiment has come to: its table, its curves, and the grown networks of its first seed.

    Raises:
        NetmorphError: if the folder holds no experiment, or a file in it is damaged.
    """
    if not (folder / IDENTITY).exists():
        raise NetmorphError(
            f"there is no experiment in {folder}",
            remedies=["name a folder that python -m reproduction wrote", "netmorph report reads what netmorph wrote"],
        )
    with reading(folder):
        return _experiment(folder)


def _experiment(folder: Path) -> Run:
    table = folder / "table.md"
    text = read_file(read_text, table) if table.exists() else "# Experiment\n\nThe table is not written yet."
    title, _, rest = text.partition("\n")
    done = [read_done(path.parent) or {} for path in sorted((folder / JOBS).glob(f"*/{DONE}"))]
    grown = [job for job in done if job.get("parity") and job["parity"].get("steps")]
    seed = min((job["seed"] for job in grown), default=0)
    sites: list[tuple[str, MorphedSite]] = []
    for job in grown:
        network = folder / JOBS / job["key"] / "network"
        if job["seed"] == seed and (network / CONFIG).exists():
            sites += [(f"{job['key']}: {name}", site) for name, site in sites_of(describe(network)[1])]
    curves = folder / "curves.svg"
    return Run(
        title.lstrip("# ").strip() or "Experiment",
        folder,
        sites=tuple(sites),
        parity=_parity(grown),
        body=to_html(rest),
        pictures=(("Test error by epoch", read_file(read_text, curves)),) if curves.exists() else (),
        environment=done[0].get("environment", {}) if done else {},
    )


def _parity(jobs: Sequence[Mapping[str, Any]]) -> tuple[MorphParity, ...]:
    """Return what the jobs recorded: the worst of the sites of each step of a growth."""
    figures = [
        SiteFigures(
            f"{job['key']}, {step['sites']} sites",
            float(step["interior"]),
            float(step["border"]),
            None,
            float(step["tolerance"]),
            int(step["sites"]),
        )
        for job in jobs
        for step in job["parity"]["steps"]
    ]
    outputs = max((float(job["parity"]["max_abs"]) for job in jobs), default=0.0)
    return (MorphParity("all morphs", tuple(figures), outputs),) if figures else ()
