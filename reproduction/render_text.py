"""An experiment's table as a page of Markdown: all of it follows from what ``table.json`` says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

__all__ = ["error_table", "markdown"]

_NONE = "-"


def markdown(content: dict[str, Any]) -> str:
    """Write the page.

    Args:
        content: what `render.table_of` returned.
    """
    parts = [
        *_head(content["header"]),
        *_paper_table(content),
        *_controls(content),
        *_claims(content),
    ]
    return "\n".join(parts) + "\n"


def error_table(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of a small table: each row's error, and what it is less than each control's.

    Args:
        content: what `render.table_of` returned.
    """
    names = list(dict.fromkeys(name for row in content["rows"] for name in row["controls"]))
    rows = []
    for row in content["rows"]:
        paper = next(
            (row["figures"][key]["paper"] for key in ("error", "morph", "error_1view") if key in row["figures"]), None
        )
        found = [row["controls"].get(name) for name in names]
        printed = _NONE if paper is None else f"{paper:.2f}"
        rows.append([*_named(row), printed, _mean(row["error"], 2), *(_brief(each) for each in found)])
    return ["network", "grown through", "paper", "ours", *names], rows


def _head(header: dict[str, Any]) -> Iterator[str]:
    """Yield the title and what was done on what."""
    data = ", ".join(header["data"]) or "data not read yet"
    yield f"# {_title(header['table'])}, on {data}"
    yield ""
    papers = header["papers_data"]
    if papers is not None and any(name.partition(" (")[0] != papers for name in header["data"]):
        yield f"- **The paper's figures are of {papers}**, so their differences from ours compare different data."
    limits = [f"{header[key]:,} {said} images" for key, said in _LIMITS if header[key] is not None]
    if limits:
        yield f"- **Only part of the data**: {' and '.join(limits)}."
    epochs = header["epochs"]
    yield (
        f"- Budget: {header['budget']}: {epochs['first']} epochs for the parent, {epochs['next']} after each growth; "
        "the controls get as many in all."
    )
    if header["budget"] == "smoke":
        yield "- **The smoke budget shows that every step runs; its errors mean nothing.**"
    yield f"- Seeds: {header['seeds']}. Trainings done: {header['jobs']['done']} of {header['jobs']['total']}."
    hardware = header["accelerator"] or header["processor"]
    how = "; ".join(header["training"])
    yield f"- Hardware: {'; '.join(hardware) or _NONE}{how and f' ({how})'}."
    yield f"- Python {'; '.join(header['python']) or _NONE}; {'; '.join(header['versions']) or _NONE}."
    yield ""


def _title(table: str) -> str:
    """Write ``table1`` as people do; other experiments than the paper's have titles of their own."""
    for kind in ("table", "figure"):
        if table.startswith(kind):
            return f"{kind.capitalize()} {table.removeprefix(kind)} of the paper"
    return table.capitalize()


_LIMITS = (("train_limit", "training"), ("test_limit", "test"))


def _paper_table(content: dict[str, Any]) -> Iterator[str]:
    """Yield the table with three columns for each figure."""
    if not content["columns"]:
        return
    yield from (
        "## Beside the paper",
        "",
        "Ours: mean ± standard deviation over seeds (n seeds). Difference: ours minus the paper's.",
        "",
    )
    titles = [f"{title}: {kind}" for title in content["columns"].values() for kind in ("paper", "ours", "difference")]
    yield from _table(
        ("network", "grown through", *titles),
        ((*_named(row), *_cells(row["figures"], content["columns"])) for row in content["rows"]),
    )


def _cells(figures: dict[str, Any], columns: Iterable[str]) -> Iterator[str]:
    """Yield the three cells of each figure of a row."""
    for key in columns:
        figure = figures.get(key)
        if figure is None:
            yield from (_NONE,) * 3
            continue
        digits = figure["digits"]
        yield f"{figure['paper']:.{digits}f}"
        yield _mean(figure["ours"], digits, counted="error" in key or key in ("scratch", "morph"))
        yield _NONE if figure["difference"] is None else f"{figure['difference']:+.{digits}f}"


def _controls(content: dict[str, Any]) -> Iterator[str]:
    """Yield the controls beside each row, and the differences."""
    rows = [row for row in content["rows"] if row["controls"]]
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row["controls"]))
    yield from (
        "",
        "## Beside the controls",
        "",
        "Test error in percent. The factor is the control's training compute (multiply-accumulates of all its epochs) "
        "relative to the row's.",
        "",
    )
    yield from _table(
        ("network", "grown through", "epochs", "error", *names),
        (
            (
                *_named(row),
                _NONE if row["epochs"] is None else f"{row['epochs']:.0f}",
                _mean(row["error"], 2),
                *(_control(row["controls"].get(name)) for name in names),
            )
            for row in rows
        ),
    )
    yield from (
        "",
        "## Row minus control, seed by seed",
        "",
        "Percentage points of test error, negative where the grown network is better: mean ± standard deviation (n "
        "pairs), and the verdict of a paired t test at 95 %. It speaks of seeds, not of other data or other recipes.",
        "",
    )
    yield from _table(
        ("network", "grown through", *names),
        ((*_named(row), *(_paired(row["controls"].get(name)) for name in names)) for row in rows),
    )


def _control(found: dict[str, Any] | None) -> str:
    if found is None or found["error"] is None:
        return _NONE
    compute = "" if found["compute"] is None else f", {found['compute']:.2f}x"
    return _mean(found["error"], 2) + compute


def _paired(found: dict[str, Any] | None) -> str:
    return _NONE if found is None or found["paired"] is None else found["paired"]["text"]


def _brief(found: dict[str, Any] | None) -> str:
    """Write a paired difference and its verdict in few words."""
    if found is None or found["paired"] is None:
        return _NONE
    paired = found["paired"]
    spread = "" if paired["std"] is None else f" ± {paired['std']:.2f}"
    return f"{paired['mean']:+.2f}{spread}, {paired['verdict']}"


def _claims(content: dict[str, Any]) -> Iterator[str]:
    """Yield which claims held, each with what it is against."""
    yield from ("", "## Which claims held", "")
    parity = content["parity"]
    if parity["growths"]:
        yield (
            f"- **Growing keeps the function**: held in {parity['growths']} of {parity['growths']} growths, each "
            f"asserted before it was trained on; the largest difference of a logit is {parity['max_abs']:.1e}, or "
            f"{parity['max_rel']:.1e} of the largest logit."
        )
    else:
        yield "- **Growing keeps the function**: not measured yet."
    by_subject: dict[str, list[dict[str, Any]]] = {}
    for claim in content["claims"]:
        by_subject.setdefault(claim["subject"], []).append(claim)
    for subject, found in by_subject.items():
        yield f"- **{subject}** errs less than"
        for claim in found:
            against = claim["claim"].partition(" errs less than ")[2]
            yield f"  - {against}: {_said(claim)}"
    yield from _counts(content["summary"])


def _said(claim: dict[str, Any]) -> str:
    """Write a claim's verdict and its figures."""
    paper = [] if claim["paper"] is None else [f"paper {claim['paper']:+.2f}"]
    found = claim["found"]
    if found is not None:
        spread = "" if found["std"] is None else f" ± {found['std']:.2f}"
        paper.append(f"ours {found['mean']:+.2f}{spread}, n={found['n']}")
    return f"**{claim['verdict']}**" + (f" ({'; '.join(paper)})" if paper else "")


def _counts(summary: dict[str, dict[str, int]]) -> Iterator[str]:
    """Yield how many claims came to what, by control."""
    if not summary:
        return
    verdicts = list(dict.fromkeys(verdict for counts in summary.values() for verdict in counts))
    yield from ("", "How many claims came to what:", "")
    yield from _table(
        ("against", *verdicts),
        ((control, *(str(counts.get(verdict, 0)) for verdict in verdicts)) for control, counts in summary.items()),
    )


def _named(row: dict[str, Any]) -> tuple[str, str]:
    net = row["net"] if "@" in row["name"] or row["name"] == row["net"] else f"{row['net']}: {row['name']}"
    return net, ", ".join(row["phases"]) or _NONE


def _mean(spread: dict[str, Any] | None, digits: int, counted: bool = True) -> str:
    """Write mean ± deviation (n); the mean alone where nothing varies by nature."""
    if spread is None:
        return _NONE
    if not counted:
        return f"{spread['mean']:.{digits}f}"
    deviation = "" if spread["std"] is None else f" ± {spread['std']:.{digits}f}"
    return f"{spread['mean']:.{digits}f}{deviation} ({spread['n']})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
