"""The folder of an experiment: what it is for, written down once and held against every later call."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from netmorph.bounded import read_json
from netmorph.errors import NetmorphError
from netmorph.train.recipe import Recipe
from netmorph.whole_files import write_whole
from reproduction.budget import Budget
from reproduction.experiment import Experiment

__all__ = ["IDENTITY", "JOBS", "check_folder", "claim_folder"]

JOBS, IDENTITY = "jobs", "experiment.json"
_DEFAULTS = {each.name: each.default for each in fields(Budget) if each.default is not MISSING}
_ELSEWHERE = ("choose another folder with --out",)


def claim_folder(experiment: Experiment, out: Path) -> None:
    """Write what the folder is for, or check that it is for this.

    Args:
        experiment: what is to be done.
        out: its folder; made if need be.

    Raises:
        NetmorphError: if the folder holds another experiment or something else, or cannot be written.
    """
    path = out / IDENTITY
    try:
        out.mkdir(parents=True, exist_ok=True)
        foreign = any(not each.name.startswith(".") for each in out.iterdir())
        if not path.exists():
            if foreign:
                raise NetmorphError(f"{out} exists, is not empty and holds no experiment", remedies=_ELSEWHERE)
            write_whole(path, (json.dumps(_ways(experiment), indent=2) + "\n").encode())
        check_folder(experiment, out)
        (out / JOBS).mkdir(exist_ok=True)  # after what it is for: a folder with jobs alone is none of ours
    except OSError as error:
        raise NetmorphError(f"{out} cannot be used: {error}", remedies=_ELSEWHERE) from error


def check_folder(experiment: Experiment, out: Path) -> None:
    """Check that a folder holds this experiment, or another table of the same budget.

    Args:
        experiment: what is, or was, to be done.
        out: the folder.

    Raises:
        NetmorphError: if it holds none, or another one.
    """
    try:
        known = read_json(out / IDENTITY)
        if not isinstance(known, dict) or not isinstance(known.get("budget"), dict):
            raise ValueError(f"{IDENTITY} names no budget")
    except (FileNotFoundError, NotADirectoryError):
        raise NetmorphError(f"there is no experiment in {out}", remedies=["name its folder with --out"]) from None
    except (OSError, ValueError) as error:
        raise NetmorphError(f"{out} cannot be used: {error}", remedies=_ELSEWHERE) from error
    ways = _ways(experiment)
    known = _whole(known)
    if known["budget"] != ways["budget"]:
        there, here = known["budget"].get("name"), experiment.budget.name
        raise NetmorphError(
            f"{out} holds an experiment of another budget",
            shapes=f"{there} there, {here} here"
            if there != here
            else f"both {here}, which says {_differing(known['budget'], ways['budget'])} differently",
            remedies=_ELSEWHERE,
        )
    if known.get("variants") != ways.get("variants"):
        raise NetmorphError(
            f"{out} holds an experiment with other variants: what is done there would pass for what they say now",
            remedies=_ELSEWHERE,
        )


def _ways(experiment: Experiment) -> dict[str, Any]:
    """Return how the experiment's networks are trained, as JSON says it."""
    ways: dict[str, Any] = {"budget": experiment.budget.as_dict()}
    if experiment.variants:
        ways["variants"] = {name: budget.as_dict() for name, budget in experiment.variants.items()}
    read: dict[str, Any] = json.loads(json.dumps(ways))  # tuples become lists, as they are when read again
    return read


def _whole(known: dict[str, Any]) -> dict[str, Any]:
    """Add what an older netmorph did not write: a way to train that it did not know, which by default does nothing."""
    recipe = asdict(Recipe())

    def budget(given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        parts = {key: {**recipe, **given[key]} for key in ("first", "next") if isinstance(given.get(key), dict)}
        return {**_DEFAULTS, **given, **parts}

    variants = known.get("variants")
    more = {"variants": {name: budget(each) for name, each in variants.items()}} if isinstance(variants, dict) else {}
    read: dict[str, Any] = json.loads(json.dumps({**known, "budget": budget(known["budget"]), **more}))
    return read


def _differing(one: dict[str, Any], other: dict[str, Any]) -> str:
    return " and ".join(key for key in other if one.get(key) != other[key])
