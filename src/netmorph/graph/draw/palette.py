"""The colours of drawings, distinguishable for colour-blind readers (Okabe and Ito), on light and dark backgrounds."""

from __future__ import annotations

__all__ = ["DARK", "FONT", "LIGHT", "WIDTHS"]

FONT = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"

WIDTHS = {"line": 1.5, "fixed": 1.3, "carry": 2.8, "fresh": 2.8, "faint": 1.0}

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b2330",
    "faint": "#5b6675",
    "line": "#46505e",
    "fixed": "#6b7685",
    "carry": "#0067a8",
    "fresh": "#006b4f",
    "blob": "#8b97a6",
    "blob-fill": "#eef2f6",
    "end": "#1b2330",
    "end-fill": "#dfe6ee",
    "narrow": "#c02a1d",
    "narrow-fill": "#fde4e0",
    "frame": "#c9d1da",
    "frame-fill": "none",
}

DARK = {
    "paper": "#151a21",
    "ink": "#e8ecf1",
    "faint": "#a3aebb",
    "line": "#b4becb",
    "fixed": "#93a0af",
    "carry": "#5ab4f0",
    "fresh": "#3fcfa2",
    "blob": "#65717f",
    "blob-fill": "#222a34",
    "end": "#d3dbe5",
    "end-fill": "#303b48",
    "narrow": "#ff7a6b",
    "narrow-fill": "#4a1f1b",
    "frame": "#3a4552",
    "frame-fill": "none",
}
