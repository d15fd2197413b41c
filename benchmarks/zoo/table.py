"""The Markdown table of a results file, with what was run, what was left out, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.zoo.representatives import section
from benchmarks.zoo.rows import read
from benchmarks.zoo.suites import SUITES, Suite
from benchmarks.zoo.torchvision_suite import TORCH_PRUNING_FAILS, TORCH_PRUNING_PASSES

Row = Mapping[str, Any]
COLUMNS = (
    *("graph", "models with every site exact", "exact", "refused", "over the size limit", "out of time", "failed"),
    *("interior", "border", "whole model"),
)


def write_table(name: str, path: Path, folder: Path) -> Path:
    """Write the table of one suite, whose rows are at `path`, into a folder and return its path."""
    suite = SUITES[name]
    rows = read(path)
    listed = [(entry.name, entry.group) for entry in suite.entries()]
    order = {model: index for index, (model, _) in enumerate(listed)}
    rows = sorted((row for row in rows if row["model"] in order), key=lambda row: order[row["model"]])
    parts = [f"# Zoo: {name}", _setting(suite, rows), _outcome(rows, len(listed)), _sites(rows, suite), section(path)]
    if name == "torchvision":
        parts.append(_torch_pruning(rows))
    parts += [_reasons(rows), _rounding(rows), _bad(rows), _models(rows, suite)]
    target = folder / f"{name}.md"
    aside = target.with_suffix(".tmp")
    aside.write_text("\n\n".join(part for part in parts if part) + "\n")
    aside.replace(target)
    return target


def is_morphed(row: Row) -> bool:
    """Return whether a model morphs at one or more sites, exactly, and nothing failed."""
    return row["status"] == "ok" and any(kind["exact"] for kind in row["kinds"].values())


def is_whole(row: Row) -> bool:
    """Return whether every site of a model morphs exactly with every kind of graph, none left out or refused."""
    return row["status"] == "ok" and row["sites"] > 0 and all(k["exact"] == row["sites"] for k in row["kinds"].values())


def _setting(suite: Suite, rows: list[Row]) -> str:
    limits = sorted({f"{row['work_limit']:.3g}" for row in rows})
    spent = sorted({row["seconds_limit"] for row in rows if row.get("seconds_limit")})
    late = (
        f"- Time limit of this run: no further site is begun after {' or '.join(f'{each:g}' for each in spent)} s of a "
        "model's processor time, the cheapest geometries come first; those left out are counted, and a run without "
        "the limit takes them up.\n"
    )
    return (
        "Every convolution and linear layer is solved for and measured against the layer on the input that reaches it "
        "in the network (interior and border of the output) and on a second size; then all morphed modules run "
        "together. Random weights, random BatchNorm statistics, eval mode, batch of one, the smallest of the inputs "
        "tried that the model takes. Tolerance of a site, relative to its output's maximum: 1e-5 in float32, 1e-10 "
        "in float64 (detection models); of a whole model a hundred times that; one that is above it in float32 is "
        "compared again in float64 (and, where rounding alone made the difference, is not in the column 'whole "
        "model').\n\n"
        f"- Graphs: {', '.join(suite.kinds)}. Simple is `K > 1 \\| 1` with the site's kernel K; complex is module (D) "
        "of eq. 6 with the site's kernel. Grouped and depthwise sites get the same graphs with the site's groups on "
        "every edge; strides are the site's.\n"
        f"- Size limit: sites whose solve takes more than {' or '.join(limits)} multiply-accumulates are left out and "
        "counted (a complex graph counts twice). Sites of one geometry in one model share their noise, nothing else.\n"
        f"{late if spent else ''}"
        f"- Limits of a model: {_budgets(suite, rows)}; one process each.\n"
        f"{_made_with(rows)}"
    )


def _budgets(suite: Suite, rows: list[Row]) -> str:
    own = {"seconds": suite.seconds, "memory": suite.memory, "cpu": suite.cpu}
    given = [own | row.get("budget", {}) for row in rows]
    texts = Counter(
        f"{each['memory']:g} GiB, {each['seconds']:g} s of wall-clock time"
        + (f", {each['cpu']:g} s of processor time" if each["cpu"] else "")
        for each in given
    )
    return " or ".join(text for text, _ in texts.most_common())


def _made_with(rows: list[Row]) -> str:
    """Return what the rows were made with, the most frequent first."""
    settings = Counter(
        ", ".join(f"{name} {value}" for name, value in row.get("versions", {"versions": "not recorded"}).items())
        for row in rows
    )
    return "\n".join(f"- {count} of the rows: {setting}." for setting, count in settings.most_common())


def _outcome(rows: list[Row], listed: int) -> str:
    statuses = Counter(row["status"] for row in rows)
    exact = sum(map(is_morphed, rows))
    ran = [row for row in rows if row["status"] == "ok"]
    idle = sum(not any(kind["exact"] for kind in row["kinds"].values()) for row in ran)
    whole = sum(map(is_whole, ran))
    with_conv = [row for row in rows if row.get("convolutions", 1) and "kinds" in row]
    morphed = sum(map(is_morphed, with_conv))
    share = f"{morphed} ({100 * morphed / max(1, len(with_conv)):.1f}%)"
    lines = [
        f"**Run: {len(rows)} of {listed} models.** Morph exactly at one or more sites, nothing failing: **{exact}**; "
        f"at every site, nothing left out: {whole}; run without a site that was morphed: {idle}.",
        f"Of the {len(with_conv)} that ran and have a convolution, {share} morph.",
        "",
        "| outcome | models |",
        "| --- | ---: |",
        *(f"| {status} | {count} |" for status, count in statuses.most_common()),
        f"| not run yet | {listed - len(rows)} |",
    ]
    return "\n".join(lines)


def _sites(rows: list[Row], suite: Suite) -> str:
    ran = [row for row in rows if "kinds" in row]
    lines = [
        f"Layers met: {sum(row['layers'] for row in ran)}, of which {sum(row['sites'] for row in ran)} are sites and "
        f"{sum(sum(row['refused'].values()) for row in ran)} are refused before any graph (reasons below).",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "| --- |" + " ---: |" * 9,
    ]
    geometry = []
    for kind in suite.kinds:
        each = [row["kinds"][kind] for row in ran if kind in row["kinds"]]
        tally: Counter[str] = Counter()
        for one in each:
            tally.update(one["geometry"])
        counts = [
            sum(row["sites"] > 0 and row["kinds"].get(kind, {}).get("exact") == row["sites"] for row in ran),
            sum(one["exact"] for one in each),
            sum(sum(one["refused"].values()) for one in each),
            sum(one["over_limit"] for one in each),
            sum(one["late"] for one in each),
            sum(len(one["failed"]) for one in each),
        ]
        worst = [_show(_largest(one.get(key) for one in each)) for key in ("interior", "border")]
        worst.append(_show(_largest(one.get("model") for one in each if "rounding" not in one)))
        lines.append(f"| {kind} | {' | '.join(map(str, counts))} | {' | '.join(worst)} |")
        geometry.append(f"Exact, {kind}: " + ", ".join(f"{count} {name}" for name, count in tally.most_common()) + ".")
    return "\n".join([*lines, "", *geometry])


def _torch_pruning(rows: list[Row]) -> str:
    by_name = {row["model"]: row for row in rows}
    parts = []
    for what, names in (("passes", TORCH_PRUNING_PASSES), ("failures", TORCH_PRUNING_FAILS)):
        run = [by_name[name] for name in names if name in by_name]
        exact = [row["model"] for row in run if is_morphed(row)]
        whole = sum(map(is_whole, run))
        left = [name for name in names if name not in exact]
        parts.append(
            f"of its {len(names)} {what}, {len(run)} run and {len(exact)} morph (with nothing left out: {whole})"
            + (f" (not yet: {', '.join(left)})" if left else "")
        )
    return (
        "Torch-Pruning lists 85 models by name (benchmarks/prunability/readme.md in VainF/Torch-Pruning, on "
        f"torchvision 0.13.1), 77 passes and 8 failures: {'; '.join(parts)}. It prunes where this "
        "morphs: the list is what the two have in common."
    )


def _reasons(rows: list[Row]) -> str:
    layers: Counter[str] = Counter()
    graphs: Counter[str] = Counter()
    for row in rows:
        layers.update(row.get("refused", {}))
        for kind, each in row.get("kinds", {}).items():
            graphs.update({f"{kind}: {why}": count for why, count in each["refused"].items()})
    if not layers + graphs:
        return ""
    lines = ["| refused because | layers |", "| --- | ---: |"]
    lines += [f"| {_cell(why)} | {count} |" for why, count in (layers + graphs).most_common()]
    return "\n".join(lines)


def _bad(rows: list[Row]) -> str:
    lines = [
        f"- {row['model']}: {row['status']}: {row.get('why', '')}"
        + "; ".join(f"{kind}: {why}" for kind, each in row.get("kinds", {}).items() for why in each["failed"][:3])
        for row in rows
        if row["status"] != "ok"
    ]
    return "\n".join(["Not ok:", "", *lines]) if lines else ""


def _rounding(rows: list[Row]) -> str:
    lines = [
        f"- {row['model']}: {kind}: {each['rounding']}"
        for row in rows
        for kind, each in row.get("kinds", {}).items()
        if "rounding" in each
    ]
    head = (
        "Every site is exact, yet the whole model's outputs differ in float32: rounding, amplified by the random "
        "network. The same sites solved for, built and compared in float64:"
    )
    return "\n".join([head, "", *lines]) if lines else ""


def _models(rows: list[Row], suite: Suite) -> str:
    head = ["model", "group", "status", "layers", "refused"]
    for kind in suite.kinds:
        head += [f"{kind}: exact", "left out", "interior", "border", "model"]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = [row["model"], row["group"], row["status"]]
        cells += [str(row.get("layers", "")), str(sum(row.get("refused", {}).values()))]
        for kind in suite.kinds:
            each = row.get("kinds", {}).get(kind)
            cells += _kind_cells(each) if each else [""] * 5
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _kind_cells(each: Row) -> list[str]:
    left = sum(each["refused"].values()) + each["over_limit"] + each["late"] + len(each["failed"])
    return [str(each["exact"]), str(left), *(_show(each.get(key)) for key in ("interior", "border", "model"))]


def _largest(values: Iterable[Any]) -> Any:
    given = [value for value in values if value is not None]
    return max(given, key=float) if given else None


def _show(value: Any) -> str:
    return "" if value is None else f"{float(value):.1e}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
