"""What the births benchmark found: a table and a picture for each setting, from the curves on disk.

`python -m benchmarks.births.page` writes `results/births/README.md` (between its marks) and a picture a setting. The
horizontal axis is what the user pays after the parent was trained: multiply-accumulates of the forward passes of
training. P is the parent trained on; A the child's architecture from scratch, for the same additional compute; S the
same from scratch for the parent's and the additional compute together.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.births.run import RUNS
from benchmarks.births.settings import SETTINGS

OUT = Path("results/births")
BEGIN, END = "<!-- begin: written by python -m benchmarks.births.page -->", "<!-- end -->"
SCRATCH, ON = "from scratch", "P: parent trained on"
COLOURS = {ON: "#222222", "A": "#c44e52", "S": "#8172b2"}
WAYS = ("#4c72b0", "#dd8452", "#55a868", "#937860", "#da8bc3", "#8c8c8c", "#64b5cd", "#ccb974", "#2f9e9e", "#b0b000")


@dataclass(frozen=True)
class Arm:
    """One way to spend the additional compute, over the seeds that were run.

    Attributes:
        name: as the table calls it.
        macs: multiply-accumulates of one image.
        curves: for each seed, (additional compute in units of the parent's training, what was measured).
    """

    name: str
    macs: int
    curves: dict[int, list[tuple[float, float]]]

    def at(self, spent: float) -> dict[int, float]:
        """Return by seed what was measured last within a compute; seeds that have not begun by then are left out."""
        found = {}
        for seed, curve in self.curves.items():
            within = [value for x, value in curve if x <= spent * (1 + 1e-6)]
            if within:
                found[seed] = within[-1]
        return found


def arms_of(setting: str) -> list[Arm]:
    """Read the curves of a setting, of those seeds that every arm has; scratch becomes A and S."""
    runs: dict[str, dict[int, Any]] = {}
    for path in sorted((RUNS / setting).glob("*.json")):
        record = json.loads(path.read_text())
        if record["arm"] != "parent":
            runs.setdefault(record["arm"], {})[int(path.stem.rpartition("-")[2])] = record
    if SETTINGS[setting].parents:  # the same parents, trained on there
        for path in (RUNS / SETTINGS[setting].parents).glob(f"{ON.replace(' ', '_').replace(':', '')}-*.json"):
            runs.setdefault(ON, {})[int(path.stem.rpartition("-")[2])] = json.loads(path.read_text())
    complete = set.intersection(*(set(by_seed) for by_seed in runs.values()))  # a seed counts when every arm has it
    arms = []
    for name, found in runs.items():
        by_seed = {seed: record for seed, record in found.items() if seed in complete}
        first = next(iter(by_seed.values()))
        unit = first["parent_macs_spent"]
        curves = {
            seed: [(p["epoch"] * r["macs"] * r["images"] / unit, p["test"]) for p in r["points"]]
            for seed, r in by_seed.items()
        }
        if name == SCRATCH:
            arms.append(Arm("A", first["macs"], curves))
            late = {seed: [(x - 1, y) for x, y in curve if x >= 1] for seed, curve in curves.items()}
            arms.append(Arm("S", first["macs"], late))
        else:
            arms.append(Arm(name, first["macs"], curves))
    return arms


def table(setting: str) -> str:
    """Return what each arm has come to when the cheapest child is through, and at a third of that, as Markdown.

    Where children differ much in cost, each is also shown at its own end, beside the parent trained on for as long.
    """
    arms = arms_of(setting)
    births = [arm for arm in arms if arm.name in SETTINGS[setting].births]
    end = min(max(x for curve in arm.curves.values() for x, _ in curve) for arm in births)
    start = {seed: curve[0][1] for seed, curve in births[0].curves.items()}
    metric = _parent(setting)["metric"]
    own_end = {arm.name: max(x for curve in arm.curves.values() for x, _ in curve) for arm in births}
    uneven = max(own_end.values()) > 1.5 * min(own_end.values())
    on = next(arm for arm in arms if arm.name == ON)
    heads = ["", "MACs an image", *(f"after {share:.2f}" for share in (end / 3, end))]
    heads += ["at its end (after)", "P then"] if uneven else []
    heads += [f"seed {s}" for s in sorted(start)]
    blank = ["", ""] if uneven else []
    first = ["parent", f"{_own(setting):,}", "", _mean(list(start.values()), metric), *blank]
    rows = [[*first, *_each(start, start, metric)]]
    for arm in sorted(arms, key=lambda arm: statistics.mean(arm.at(end).values())):
        now = arm.at(end)
        cells = [_mean(list(arm.at(share).values()), metric) for share in (end / 3, end)]
        if uneven and arm.name in own_end:
            last = own_end[arm.name]
            ours, then = (_mean(list(each.at(last).values()), metric) for each in (arm, on))
            cells += [f"{ours} ({last:.2f})", then]
        else:
            cells += blank
        rows.append([arm.name, f"{arm.macs:,}", *cells, *_each(now, start, metric)])
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def window(setting: str) -> str:
    """Say over which additional compute the best birth beats each control, in the mean over the seeds."""
    arms = {arm.name: arm for arm in arms_of(setting)}
    births = [arms[name] for name in SETTINGS[setting].births if name in arms]
    end = max(x for arm in births for curve in arm.curves.values() for x, _ in curve)
    best = min(births, key=lambda arm: statistics.mean(arm.at(end).values()))
    points = sorted({x for curve in best.curves.values() for x, _ in curve if x > 0})
    said = []
    for control in (ON, "A", "S"):
        if control not in arms:
            continue
        ahead = [x for x in points if _is_ahead(best, arms[control], x)]
        others = len(points) - len(ahead)
        where = "nowhere" if not ahead else "everywhere" if not others else f"from {ahead[0]:.2f} to {ahead[-1]:.2f}"
        said.append(f"{control.partition(':')[0]} {where}")
    return (
        f"`{best.name}` is ahead of " + ", of ".join(said) + " (additional compute over that of the parent's training)."
    )


def _is_ahead(arm: Arm, control: Arm, spent: float) -> bool:
    ours, theirs = arm.at(spent), control.at(spent)
    both = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    return not both or statistics.mean(both) < 0


def _seeds(arm: Arm) -> str:
    return "one seed" if len(arm.curves) == 1 else f"{len(arm.curves)} seeds"


def _own(setting: str) -> int:
    return int(_parent(setting)["macs"])


def _parent(setting: str) -> dict[str, Any]:
    """Return the record of one of a setting's parents."""
    folder = RUNS / (SETTINGS[setting].parents or setting)
    record: dict[str, Any] = json.loads(max(folder.glob("parent-*.json")).read_text())
    return record


def _mean(values: Sequence[float], metric: str) -> str:
    digits = 2 if metric == "error" else 3
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def _each(values: dict[int, float], seeds: dict[int, float], metric: str) -> list[str]:
    digits = 2 if metric == "error" else 3
    return [f"{values[seed]:.{digits}f}" if seed in values else "" for seed in sorted(seeds)]


def draw(setting: str, path: Path) -> None:
    """Draw every arm's mean over the seeds, with the range of the seeds behind it."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "netmorph", "svg.fonttype": "none"})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    arms = arms_of(setting)
    births = [arm for arm in arms if arm.name in SETTINGS[setting].births]
    end = max(x for arm in births for curve in arm.curves.values() for x, _ in curve)
    start = [curve[0][1] for curve in births[0].curves.values()]
    colours = dict(zip([arm.name for arm in births], WAYS, strict=False)) | COLOURS
    lowest, highest = min(start), max(start)
    for arm in arms:
        seeds = list(arm.curves.values())
        count = min(len(curve) for curve in seeds)
        points = [(curve_points[0][0], [y for _, y in curve_points]) for curve_points in zip(*seeds, strict=False)]
        points = [(x, ys) for x, ys in points[:count] if x <= end * 1.001]
        xs, mean = [x for x, _ in points], [statistics.mean(ys) for _, ys in points]
        control = arm.name not in SETTINGS[setting].births
        axes.plot(xs, mean, "--" if control else "-", color=colours[arm.name], label=arm.name, marker=".", ms=4)
        axes.fill_between(
            xs, [min(ys) for _, ys in points], [max(ys) for _, ys in points], alpha=0.12, color=colours[arm.name], lw=0
        )
        lowest = min([lowest, *mean])
        highest = max([highest, *mean[1:]]) if not control else highest
    axes.axhline(statistics.mean(start), color="#999999", lw=0.8)
    axes.annotate("the parent", (end, statistics.mean(start)), ha="right", va="bottom", fontsize=8, color="#777777")
    highest = min(highest, 2 * max(start) - lowest)  # a child that gave up the function leaves the picture, as A does
    room = 0.08 * (highest - lowest)
    axes.set_ylim(lowest - room, highest + 3 * room)
    axes.set_xlabel("additional compute, in units of the parent's training (MACs)")
    parent = _parent(setting)
    axes.set_ylabel("test error, per cent" if parent["metric"] == "error" else "test loss, nats a byte")
    axes.set_title(f"{parent['task']}: {SETTINGS[setting].what} ({_seeds(births[0])})", fontsize=10)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _is_run(setting: str) -> bool:
    """Return whether there is a seed that every arm of a setting has."""
    names = {path.name.rpartition("-")[0] for path in (RUNS / setting).glob("*.json")} - {"parent"}
    controls = 1 if SETTINGS[setting].parents else 2
    return len(names) == len(SETTINGS[setting].births) + controls and bool(arms_of(setting)[0].curves)


def main() -> None:
    """Write the tables and pictures of all settings that were run."""
    parts = []
    for setting in SETTINGS:
        if not _is_run(setting):
            continue
        draw(setting, OUT / f"{setting}.svg")
        record = _parent(setting)
        title = f"### {record['task']}: {SETTINGS[setting].what}"
        how = (
            f"torch {record['torch']}, {record['machine']}. Mean ± standard deviation over the seeds; the columns "
            "`seed` are those at the end. `after` counts additional compute over that of the parent's training."
        )
        parts += [
            title,
            f"![test error against additional compute]({setting}.svg)",
            window(setting),
            table(setting),
            how,
        ]
    page = OUT / "README.md"
    text = page.read_text() if page.exists() else f"{BEGIN}\n{END}\n"
    head, _, rest = text.partition(BEGIN)
    page.write_text(head + BEGIN + "\n\n" + "\n\n".join(parts) + "\n\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
