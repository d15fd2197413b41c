"""Module graphs: structure, notation and verdicts, no weights (DESIGN section 3)."""

from netmorph.graph.spec import Edge, Fixed, ModuleGraph, Width

__all__ = ["Edge", "Fixed", "ModuleGraph", "Width"]
