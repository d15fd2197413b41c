"""Every figure of the paper's Tables 1-5, as data."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["paper_tables"]


def paper_tables() -> dict[str, Any]:
    """Return the figures of Tables 1-5: a list of rows for each table, a dictionary for each row.

    Errors and improvements are in percent; ``params_mib`` is 4 bytes for each weight of convolutions and linear layers,
    bias, BatchNorm vector (four of them) and slope, over 2^20; ``flop_m`` and ``flop_g`` are millions and billions of
    multiply-accumulates of convolutions and linear layers; ``phases`` are the networks trained on the way.
    """
    text = files("netmorph.models").joinpath("assets/paper_tables.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
