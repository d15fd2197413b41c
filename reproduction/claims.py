"""What the paper claims, held against what was measured: each claim with the control that it stands against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from netmorph.models.paper_net import parse_net
from reproduction.experiment import CONTROLS, NET2NET, ON, ON_MACS, PLAIN, SCRATCH, SCRATCH_MACS, TableRow
from reproduction.finished import Finished, title_of
from reproduction.spread import Paired

__all__ = ["PARENT", "Claim", "claims", "parity_claim"]

PARENT = "parent"
_AGAINST = {
    PARENT: "its parent (which had fewer epochs: the paper's own comparison)",
    ON: "its parent trained on for as many epochs",
    ON_MACS: "its parent trained on for as many multiply-accumulates",
    SCRATCH: "the same architecture from scratch, in as many epochs",
    SCRATCH_MACS: "the same architecture from scratch, for as many multiply-accumulates",
    PLAIN: "the same from scratch with a plain shortcut, in as many epochs",
    NET2NET: "its parent deepened by identity layers (Net2Net) and trained for as many epochs",
}
_HELD = {
    "better": "held",
    "worse": "did not hold: the opposite was measured",
    "no clear difference": "not shown: no clear difference",
    "one seed": "open: one seed gives no verdict",
}


@dataclass(frozen=True)
class Claim:
    """One network errs less than another, says the paper or common sense.

    Attributes:
        subject: the network that should err less.
        against: what it is held against.
        control: short name of that: "parent", one of the controls, or another row's name.
        found: error of the one minus error of the other, seed by seed; None where nothing is finished.
        paper: the same difference in the paper, in percentage points; None where the paper has none.
    """

    subject: str
    against: str
    control: str
    found: Paired | None
    paper: float | None = None

    @property
    def verdict(self) -> str:
        """Whether it held, in words."""
        return "not measured yet" if self.found is None else _HELD[self.found.verdict]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON says it."""
        return {
            "claim": f"{self.subject} errs less than {self.against}",
            "subject": self.subject,
            "control": self.control,
            "paper": self.paper,
            "found": None if self.found is None else self.found.to_dict(),
            "verdict": self.verdict,
        }


def claims(finished: Finished) -> list[Claim]:
    """Hold the paper's claims against what is finished.

    Of every morphed row: that it errs less than its parent, and than each control. Between rows: that growing in phases
    beats growing at once, larger kernels 1x1, two branches one, and a small morphed network a deeper plain one.

    Args:
        finished: the experiment so far.
    """
    rows = finished.experiment.rows
    found = [claim for row in rows for claim in _of_row(finished, row)]
    return found + [_between(finished, one, other) for one, other in _pairs(rows)]


def parity_claim(finished: Finished) -> dict[str, Any]:
    """Return how far growing changed any network: the number of growths and the worst difference.

    Differences are those of the logits in eval mode, the relative ones relative to the largest logit. A run asserts
    each of them before it trains on, so a growth that is listed here has passed.
    """
    found = [job["parity"] for job in finished.done.values() if job.get("parity")]
    return {
        "growths": len(found),
        "max_abs": max((each["max_abs"] for each in found), default=None),
        "max_rel": max((each["max_rel"] for each in found), default=None),
    }


def _of_row(finished: Finished, row: TableRow) -> Iterator[Claim]:
    """Yield the claims of one row: against its parent, then against each control."""
    if not row.net.startswith("morph"):
        return
    mine = finished.values(row.result, "error")
    others = {PARENT: finished.roots(row.result), **{name: row.controls.get(name, ()) for name in CONTROLS}}
    for name, keys in others.items():
        if keys:
            paired = Paired.of(mine, finished.values(keys, "error"))
            yield Claim(title_of(row), _AGAINST[name], name, paired, _printed(row.figure, name))


def _printed(figure: dict[str, Any], control: str) -> float | None:
    """Return the paper's own difference between a row and a control: its improvement with the sign turned."""
    improvement = figure.get("abs", figure.get("abs_1view"))
    compared = SCRATCH if "scratch" in figure else PARENT
    return -improvement if improvement is not None and control == compared else None


def _between(finished: Finished, one: TableRow, other: TableRow) -> Claim:
    paired = Paired.of(finished.values(one.result, "error"), finished.values(other.result, "error"))
    printed = [_error(row.figure) for row in (one, other)]
    paper = None if None in printed else round(printed[0] - printed[1], 2)  # type: ignore[operator]
    spent = [finished.spread(row.result, "epochs") for row in (one, other)]
    less = spent[0] is not None and spent[1] is not None and spent[1].mean < spent[0].mean
    against = title_of(other) + (" (which had fewer epochs)" if less else "")
    return Claim(title_of(one), against, title_of(other), paired, paper)


def _error(figure: dict[str, Any]) -> float | None:
    """Return the error that the paper prints for a row."""
    return next((figure[key] for key in ("error", "morph", "error_1view") if key in figure), None)


def _pairs(rows: Sequence[TableRow]) -> Iterator[tuple[TableRow, TableRow]]:
    """Yield the pairs of rows of which the paper says that the first errs less."""
    for one in rows:
        for other in rows:
            if one is not other and _said(one, other):
                yield one, other


def _said(one: TableRow, other: TableRow) -> bool:
    """Tell whether the paper's text (sections 4.2 and 4.3) compares two rows and prints less error for the first."""
    errors = _error(one.figure), _error(other.figure)
    if errors[0] is None or errors[1] is None or errors[0] >= errors[1]:
        return False
    in_phases = one.net == other.net and one.phases and not other.phases
    richer = other.net.endswith("_1c1") and one.net.startswith(other.net[:-3]) and one.net != other.net
    at_once = not one.phases and not other.phases
    deeper = (
        one.net.startswith("morph")
        and other.net.startswith("resnet")
        and parse_net(one.net).depth < parse_net(other.net).depth
    )
    return bool(in_phases or (richer and at_once and not one.net.endswith("half")) or deeper)
