"""What a person wants to read of a result: ten lines at most, or all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netmorph.brief import listed
from netmorph.surgery.parity.network import Parity
from netmorph.surgery.running.cost import CostChange

_KINDS, _NOTES, _WIDTH = 3, 3, 160


def brief(
    what: str, sites: Sequence[Any], parity: Parity | None, cost: CostChange | None, notices: Sequence[str]
) -> str:
    """Return what changed, the parity, the cost and the notices in ten lines at most.

    Args:
        what: the operation.
        sites: what became of each place: each has a `name`, and a text that begins with it.
        parity: the measured difference.
        cost: before and after.
        notices: one sentence each.
    """
    kinds: dict[str, list[str]] = {}
    for site in sites:
        kinds.setdefault(str(site).partition(": ")[2], []).append(site.name)
    lines = [f"{what}: {len(sites)} place{'s' * (len(sites) != 1)}"]
    lines += [f"  {listed(names)}: {_short(kind)}" for kind, names in list(kinds.items())[:_KINDS]]
    lines += [f"  and {len(kinds) - _KINDS} more kinds: summary() has all of them"] if len(kinds) > _KINDS else []
    if parity is not None:
        word = "the same" if parity.exact else "differs"
        at = max((site.max_rel for site in parity.sites), default=0.0)
        lines.append(
            f"parity  {word}: outputs by {parity.max_rel:.1e}, places by {at:.1e} at most, relative to their largest "
            f"(tolerance {parity.tolerance:.0e})"
        )
    lines += [] if cost is None else [f"cost    {cost}"]
    few = list(notices) if len(notices) <= _NOTES else list(notices)[: _NOTES - 1]
    lines += [f"note    {_short(notice)}" for notice in few]
    lines += [f"note    and {len(notices) - len(few)} more: summary() has all of it"] if len(few) < len(notices) else []
    return "\n".join(lines)


def full(
    what: str, sites: Sequence[Any], parity: Parity | None, cost: CostChange | None, notices: Sequence[str]
) -> str:
    """Return the same, all of it; see `brief`."""
    lines = [f"{what}: {len(sites)} place{'s' * (len(sites) != 1)}", *(f"  {site}" for site in sites)]
    lines += [] if parity is None else [parity.summary()]
    lines += [] if cost is None else [f"cost   {cost}"]
    return "\n".join([*lines, *(f"note   {notice}" for notice in notices)])


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."
