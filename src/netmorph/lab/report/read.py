"""Reading a folder: a checkpoint, a quickstart or a fit."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from netmorph.bounded import read_json, read_text
from netmorph.errors import NetmorphError
from netmorph.lab.report.run import Curve, MorphParity, Run, SiteFigures, SlopeRow, Slopes
from netmorph.surgery.records.checkpoint import CONFIG, WEIGHTS, describe
from netmorph.surgery.records.morphed_site import MorphedSite
from netmorph.surgery.records.record import Record

__all__ = ["MORPH", "read_file", "read_run", "reading", "sites_of"]

MORPH = "morph.json"  # what `netmorph morph` writes beside a checkpoint
_SLOPE = re.compile(r"(?:^|\.)(?:acts\.\w+\.weight|norms\.\w+\.slope)$")
_PARENT, _CHILD = "parent", "child"
Read = TypeVar("Read")


def read_run(folder: Path) -> Run:
    """Read what is in a folder.

    Args:
        folder: what `netmorph.save`, `netmorph morph`, `quickstart` or `fit` wrote.

    Raises:
        NetmorphError: if the folder is none of these, or a file is damaged.
    """
    with reading(folder):
        if (folder / WEIGHTS).exists() and (folder / CONFIG).exists():
            return _checkpoint(folder)
        if (folder / CONFIG).exists() and (folder / "results.json").exists():
            return _quickstart(folder) if (folder / "child").is_dir() else _fit(folder)
    raise NetmorphError(
        f"{folder} contains no run or checkpoint",
        remedies=[
            "name the folder that netmorph morph, quickstart, fit or netmorph.save wrote",
            "python -m reproduction report reads the paper's experiments",
        ],
    )


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Say in one message what a damaged file in a folder raises within the block.

    Raises:
        NetmorphError: if a file was not written by netmorph.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, csv.Error) as error:
        raise NetmorphError(
            f"a file in {folder} was not written by netmorph: {type(error).__name__}: {error}",
            remedies=["repeat the command that created it"],
        ) from error


def _checkpoint(folder: Path) -> Run:
    """Read a checkpoint; parity and costs are there where `netmorph morph` wrote it."""
    parent, records = describe(folder)
    known = _json(folder / MORPH) if (folder / MORPH).exists() else None
    parity = () if known is None else (_parity("morph", {**known["parity"], "cost": known["cost"]}),)
    said = "Parity and costs were not recorded with it; netmorph verify PARENT CHILD measures the parity."
    return Run(
        "Morph" if records else "Network",
        folder,
        folder,
        parent,
        records,
        tuple(sites_of(records)),
        parity,
        slopes=Slopes(_slopes_now(folder)),
        environment={} if known is None else known["environment"],
        notices=(said,) if known is None else tuple(map(str, known["notices"])),
    )


def _quickstart(folder: Path) -> Run:
    config, results = _json(folder / CONFIG), _json(folder / "results.json")
    parent, records = describe(folder / _CHILD)
    found: dict[str, list[tuple[float, float]]] = {}
    for row in _rows(folder / "metrics.csv"):
        found.setdefault(row["network"], []).append((float(row["compute"]), float(row["test_error"])))
    born = found[_PARENT][-1]
    for name in results["continue_parent"]:
        found[name].insert(0, born)
    curves = [Curve(name, tuple(points), name not in (_PARENT, _CHILD)) for name, points in found.items()]
    costs = {row["name"]: {"params": row["params"], "macs": row["macs"]} for row in results["networks"]}
    cost = {"before": costs[_PARENT], "after": costs[_CHILD]}
    return Run(
        "Quickstart",
        folder,
        folder / _CHILD,
        parent,
        records,
        tuple(sites_of(records)),
        (_parity("morph", {**results["parity"], "cost": cost}),),
        networks=_contenders(results["networks"]),
        readings=tuple(map(str, results["readings"])),
        curves=tuple(curves),
        across=str(results["across"]),
        births=(born[0],),
        slopes=Slopes(_slopes_now(folder / _CHILD)),
        environment=_environment(config),
    )


def _fit(folder: Path) -> Run:
    config, results = _json(folder / CONFIG), _json(folder / "results.json")
    parent, records = describe(folder / "model")
    rows = _rows(folder / "metrics.csv")
    phases = [phase["recipe"]["epochs"] for phase in config["setting"]["phases"]]
    births = [float(sum(phases[: each["phase"] - 1])) for each in results["morphs"]]
    points = tuple((float(row["epoch"]), float(row["test_error"])) for row in rows)
    heads = ("network", "error %", "parameters", "MACs/image", "epochs", "seconds")
    cells = (
        str(config["setting"]["model"]),
        f"{results['error']:.2f}",
        f"{results['params']:,}",
        f"{results['macs']:,}",
        str(results["epochs"]),
        f"{results['seconds']:.0f}",
    )
    return Run(
        f"Training on {results['data']}",
        folder,
        folder / "model",
        parent,
        records,
        tuple(sites_of(records)),
        tuple(_parity(f"morph before phase {each['phase']}", each) for each in results["morphs"]),
        networks=(heads, [cells]),
        readings=("There is no control in this run, so it does not show what the morph changed.",) if births else (),
        curves=(Curve("the network", points),),
        births=tuple(births),
        slopes=Slopes(_slopes_now(folder / "model")),
        environment=_environment(config),
    )


def sites_of(records: Iterable[Record]) -> list[tuple[str, MorphedSite]]:
    """Return what was morphed, by name."""
    return [(site.name, site) for record in records for site in record.sites if isinstance(site, MorphedSite)]


def _parity(title: str, found: Mapping[str, Any]) -> MorphParity:
    sites = tuple(
        SiteFigures(
            str(site["site"]),
            float(site["interior"]),
            float(site["border"]),
            None if site["train_mode"] is None else float(site["train_mode"]),
            float(site["tolerance"]),
        )
        for site in found["sites"]
    )
    return MorphParity(title, sites, float(found["outputs_max_abs"]), found.get("cost"))


def _contenders(networks: list[dict[str, Any]]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    heads = ("network", "error %", "parameters", "MACs/image", "epochs", "compute", "seconds")
    rows = [
        (
            r["name"],
            f"{r['error']:.1f}",
            f"{r['params']:,}",
            f"{r['macs']:,}",
            str(r["epochs"]),
            f"{r['compute'] / 1e9:.1f} GMACs",
            f"{r['seconds']:.0f}",
        )
        for r in networks
    ]
    return heads, rows


def _environment(config: Mapping[str, Any]) -> dict[str, Any]:
    own = ("command", "python", "versions", "platform", "processor", "cores", "torch_threads", "accelerator")
    return {key: config[key] for key in own if key in config}


def _slopes_now(folder: Path) -> tuple[SlopeRow, ...]:
    """Read the slopes from a checkpoint's weights, without building the network."""
    from safetensors import SafetensorError, safe_open

    from netmorph.graph.spec import LARGEST
    from netmorph.surgery.records.weights_file import read_shapes

    rows = []
    shapes = read_shapes(folder / WEIGHTS)
    names = [name for name in sorted(filter(_SLOPE.search, shapes)) if shapes[name].numel()]
    if any(shapes[name].numel() > LARGEST for name in names):
        raise NetmorphError(f"{folder / WEIGHTS} holds a slope that is larger than one number a channel")
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            for name in names:
                values = file.get_tensor(name).double()
                rows.append(SlopeRow(name, values.mean().item(), values.min().item(), values.max().item()))
    except (OSError, SafetensorError) as error:
        raise NetmorphError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    return tuple(rows)


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(_text(path).splitlines()))


def _json(path: Path) -> dict[str, Any]:
    found = read_file(read_json, path)
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds no object")
    return found


def _text(path: Path) -> str:
    return read_file(read_text, path)


def read_file(reader: Callable[[Path], Read], path: Path) -> Read:
    """Read a file that must be there.

    Raises:
        NetmorphError: if it cannot be read.
    """
    try:
        return reader(path)
    except OSError as error:
        raise NetmorphError(f"{path} cannot be read: {error.strerror or error}") from error
