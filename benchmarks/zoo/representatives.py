"""The sites above a suite's size limit, one of each geometry: `python -m benchmarks.zoo torchvision --representatives`.

Thousands of large layers repeat some hundred geometries. Of each geometry and kind of graph one site is morphed and
measured in its network, the smallest network that has it, the cheapest geometry first. Two files lie beside the suite's
rows: `SUITE-large.jsonl`, which sites are above the limit, a row a model; `SUITE-representatives.jsonl`, what came of
each geometry, a row each. Both runs resume.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
from benchmarks.zoo import job
from benchmarks.zoo.check import Limits, check
from benchmarks.zoo.entries import Entry
from benchmarks.zoo.graphs import work
from benchmarks.zoo.job import Budget, Task
from benchmarks.zoo.machine import versions
from benchmarks.zoo.rows import Row, append, latest, read
from torch import nn

from netmorph.filters.geometry import ConvSpec
from netmorph.surgery.running.call import Call
from netmorph.surgery.sites.find import find_sites
from netmorph.surgery.sites.kinds import kind_of, layer_spec
from netmorph.surgery.sites.layers import candidates


@dataclass(frozen=True)
class Representative:
    """One geometry under one kind of graph, and the site that stands for all of it.

    Attributes:
        key: the geometry and the kind, in words.
        kind: of graph.
        spec: the geometry.
        model: whose site is measured.
        site: its name.
        sites: how many there are, in all models.
        models: how many models have one.
    """

    key: str
    kind: str
    spec: ConvSpec
    model: str
    site: str
    sites: int
    models: int

    @property
    def work(self) -> float:
        """Multiply-accumulates of its solve, about."""
        return work(self.kind, self.spec)


def large_sites(model: nn.Module, call: Call, kinds: Iterable[str], limit: float) -> Row:
    """Return a model's sites above the size limit, by kind: geometry in words -> [geometry, names]."""
    sites = find_sites(model.eval(), call, shortcuts=False)
    return _large(model, {site.name: site.spec for site in sites if site.kind != "identity"}, kinds, limit)


def large_by_structure(entry: Entry, counted: Mapping[str, int], limit: float) -> Row | None:
    """Return the same without building or running the model: from its modules on the meta device.

    Args:
        entry: the model.
        counted: how many sites are above the limit, by kind, as the run of the suite counted them.
        limit: multiply-accumulates.

    Returns:
        The row; None where the model cannot be built there, or has layers that look like sites and are none.
    """
    try:
        with torch.device("meta"):
            model = entry.build(**next(iter(entry.ways)).arguments)
    except Exception:  # whatever it is, `large_sites` does without
        return None
    layers, _ = candidates(model)
    specs = {name: layer_spec(layer) for name, layer in layers.items() if kind_of(layer) != "identity"}
    row = _large(model, specs, counted, limit)
    found = {kind: sum(len(names) for _, names in large.values()) for kind, large in row["large"].items()}
    return row if found == dict(counted) else None


def _large(model: nn.Module, specs: Mapping[str, ConvSpec], kinds: Iterable[str], limit: float) -> Row:
    large: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        found = large.setdefault(kind, {})
        for name, spec in specs.items():
            if work(kind, spec) > limit:
                key = f"{type(model.get_submodule(name)).__name__} {spec}"
                found.setdefault(key, [spec.to_dict(), []])[1].append(name)
    return {"status": "ok", "params": sum(p.numel() for p in model.parameters()), "large": large}


def representatives(rows: Iterable[Row]) -> list[Representative]:
    """Return one site of each geometry and kind, from the rows of `large_sites`, the cheapest first."""
    groups: dict[tuple[str, str], list[tuple[int, str, ConvSpec, list[str]]]] = {}
    for row in rows:
        for kind, found in row.get("large", {}).items():
            for key, (spec, names) in found.items():
                each = (row["params"], row["model"], ConvSpec.from_dict(spec), names)
                groups.setdefault((kind, key), []).append(each)
    chosen = []
    for (kind, key), group in groups.items():
        _, model, spec, names = min(group, key=lambda each: each[:2])
        count = sum(len(each[3]) for each in group)
        chosen.append(Representative(f"{kind}: {key}", kind, spec, model, names[0], count, len(group)))
    return sorted(chosen, key=lambda each: (each.work, each.key))


def list_large(
    entries: Iterable[Entry], suite: Path, limits: Limits, kinds: tuple[str, ...], budget: Budget
) -> dict[str, Row]:
    """List the sites above the limit of every model of which the suite's rows left some out."""
    path = beside(suite, "large")
    counted = {row["model"]: {kind: each["over_limit"] for kind, each in row["kinds"].items()} for row in _whole(suite)}
    left = {name for name, counts in counted.items() if any(counts.values())}
    task = partial(large_sites, kinds=kinds, limit=limits.work)
    known = latest(path)
    for entry in entries:
        if entry.name in left and known.get(entry.name, {}).get("status") != "ok":
            row = large_by_structure(entry, counted[entry.name], limits.work) or _row(entry, budget, task)
            append(path, {"model": entry.name, "work_limit": limits.work} | row)
    return {name: row for name, row in latest(path).items() if name in left}


def _whole(suite: Path) -> list[Row]:
    return [row for row in read(suite) if "kinds" in row]


def measure(
    chosen: Iterable[Representative],
    entries: Iterable[Entry],
    suite: Path,
    budget: Budget,
    *,
    retry: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """Measure the representatives that are not measured yet, one process each, and append a row for each."""
    path, setting = beside(suite, "representatives"), {"budget": asdict(budget), "versions": versions()}
    by_name = {entry.name: entry for entry in entries}
    done = {key: row["status"] for key, row in measured(suite).items()}
    for each in chosen:
        if done.get(each.key) == "ok" or (each.key in done and not retry):
            continue
        task = partial(check, kinds=(each.kind,), limits=Limits(float("inf")), only={each.kind: [each.site]})
        row = {"key": each.key, "kind": each.kind, "model": each.model, "site": each.site, "work": each.work}
        row |= _row(by_name[each.model], budget, task)
        append(path, row | setting)
        report(f"{each.key}: {row['status']} {_found(row)}, {row['wall_seconds']} s ({each.sites} sites)")


def measured(suite: Path) -> dict[str, Row]:
    """Return the row of each geometry."""
    return latest(beside(suite, "representatives"), "key")


def beside(suite: Path, what: str) -> Path:
    """Return the path of one of the two files beside a suite's rows."""
    return suite.with_name(f"{suite.stem}-{what}.jsonl")


def section(suite: Path) -> str:
    """Return what the table says of the sites above the limit; empty where none was looked at."""
    rows = [row for row in latest(beside(suite, "large")).values() if row["status"] == "ok"]
    chosen, found = representatives(rows), measured(suite)
    if not chosen:
        return ""
    lines = [
        "Above the size limit, one site of each geometry (type, channels, kernel, stride, dilation, padding, groups) "
        "was morphed and measured, in the smallest model that has it; the other sites of the geometry were not:",
        "",
        "| graph | sites above | geometries | geometries exact | sites of an exact geometry | refused or failed | "
        "not reached | interior | border | whole model |",
        "| --- |" + " ---: |" * 9,
    ]
    lines += [_counted(kind, chosen, found) for kind in dict.fromkeys(each.kind for each in chosen)]
    return "\n".join([*lines, "", *_open(chosen, found)])


def _counted(kind: str, chosen: list[Representative], found: Mapping[str, Row]) -> str:
    group = [each for each in chosen if each.kind == kind]
    exact = [each for each in group if _is_exact(found.get(each.key))]
    bad = sum(each.sites for each in group if each.key in found and each not in exact and not _ran_out(found, each))
    sites, reached = sum(each.sites for each in group), sum(each.sites for each in exact)
    worst = [_largest(found[each.key]["kinds"][kind].get(name) for each in exact) for name in WORST]
    cells = [kind, sites, len(group), len(exact), reached, bad, sites - reached - bad, *worst]
    return f"| {' | '.join(map(str, cells))} |"


WORST = ("interior", "border", "model")


def _open(chosen: list[Representative], found: Mapping[str, Row]) -> Iterator[str]:
    """Yield a line for each geometry that was tried and not found exact."""
    for each in chosen:
        row = found.get(each.key)
        if row is not None and not _is_exact(row):
            yield f"- {each.key} ({each.sites} sites): {row['status']}: {row.get('why') or _found(row)}"


def _is_exact(row: Row | None) -> bool:
    return row is not None and row["status"] == "ok" and all(each["exact"] == 1 for each in row["kinds"].values())


def _ran_out(found: Mapping[str, Row], each: Representative) -> bool:
    return found[each.key]["status"] in ("over time", "over memory")


def _found(row: Row) -> str:
    """Return what came of a site in a few words."""
    parts = [
        str(each["failed"] or each["refused"] or f"exact to {each['interior'] or each['border'] or 0:.1e}")
        for each in row.get("kinds", {}).values()
    ]
    return "; ".join(parts) or str(row.get("why", ""))


def _largest(values: Iterable[float | None]) -> str:
    given = [value for value in values if value is not None]
    return f"{max(given):.1e}" if given else ""


def _row(entry: Entry, budget: Budget, task: Task) -> Row:
    """Return what a task finds in a process of its own."""
    begun = job.start(entry, budget, task)
    try:
        wait([begun.pipe], timeout=begun.left)
        return begun.row() | {"wall_seconds": round(time.monotonic() - begun.begun, 1)}
    finally:
        begun.end()
