"""How a run can be done again: the command, the machine, and the history of the network as code."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from netmorph.lab.report.parts import scrolling
from netmorph.lab.report.run import Run
from netmorph.surgery.morphing.html import table
from netmorph.surgery.records.record import Record

__all__ = ["environment", "history"]

_DEFAULTS = {
    "method": "closed-form",
    "fill": "pointwise",
    "noise": 0.5,
    "keep_parent": False,
    "act": "auto",
    "birth": "slope",
    "check": True,
}


def environment(run: Run) -> str:
    """Return the command and the machine."""
    known = dict(run.environment)
    command = known.pop("command", None)
    parts = []
    if command:
        parts.append(f"<pre>{escape(shlex.join(map(str, command)))}</pre>")
    rows = [(name, _plain(value)) for name, value in known.items() if value not in (None, {}, [])]
    parts += [scrolling(table(("environment", ""), rows, left=2))] if rows else []
    return "".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items() if item is not None)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def history(run: Run) -> str:
    """Return what was done to the network, and the code that does it again."""
    if not run.records:
        return ""
    rows = [
        (
            str(number),
            _operation(record),
            ", ".join(site.name or "(the model itself)" for site in record.sites),
            _plain(record.to_dict().get("versions", {})),
        )
        for number, record in enumerate(run.records, 1)
    ]
    code = _code(run)
    return scrolling(table(("", "operation", "sites", "versions"), rows, left=4)) + f"<pre>{escape(code)}</pre>"


def _operation(record: Record) -> str:
    return str(record.to_dict().get("operation", type(record).__name__))


def _code(run: Run) -> str:
    lines = ["import netmorph as nm", ""]
    if run.checkpoint is not None:
        lines.append("# This very network: its history is replayed without solving.")
        lines.append(f'child = nm.load("{run.checkpoint}")')
    if run.parent is not None:
        given = "".join(f", {key}={value!r}" for key, value in run.parent["args"].items())
        lines += ["", "# The same for another network with these layers; x is an input of it."]
        lines.append(f'network = nm.build("{run.parent["name"]}"{given})')
    for record in run.records:
        if record.operation == "morph":
            lines += _morph_call(record)
        else:
            lines.append(f"# then {_operation(record)} at {', '.join(site.name for site in record.sites)}")
    return "\n".join(lines)


def _morph_call(record: Record) -> Sequence[str]:
    """Return the call of `morph` that a record is of; calibration= is data, which no record holds."""
    options = {"birth": "slope", **record.options}  # the only one of older records
    mapping = options.pop("mapping", {})
    given = {key: value for key, value in options.items() if _DEFAULTS.get(key, ...) != value}
    if given.get("norm") in ("calibrated", "paper"):
        given["calibration"] = _Name("batches")
    arguments = "".join(f", {key}={value!r}" for key, value in given.items())
    return [
        "sites = {",
        *(f"    {pattern!r}: {graph!r}," for pattern, graph in mapping.items()),
        "}",
        f"network = nm.morph(network, sites, example_inputs=x{arguments}).model",
    ]


class _Name(str):
    """A text that stands for itself in code."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
