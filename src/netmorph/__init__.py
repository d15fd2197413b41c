"""Grow a trained PyTorch network without losing what it has learned.

The public verbs of netmorph. Everything is imported on first use, so that ``import netmorph`` (and ``netmorph --help``)
loads neither torch nor networkx.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from netmorph._version import __version__

if TYPE_CHECKING:
    from netmorph.errors import (
        GraphError,
        InfeasibleMorph,
        NetmorphError,
        NotationError,
        ParityError,
        SiteError,
    )
    from netmorph.graph.catalogue import catalogue
    from netmorph.graph.notation import parse
    from netmorph.graph.reduce import reduce
    from netmorph.graph.spec import Edge, ModuleGraph

# Where each public name lives.
_HOME = {
    "Cost": "netmorph.surgery.cost",
    "Edge": "netmorph.graph.spec",
    "GraphError": "netmorph.errors",
    "InfeasibleMorph": "netmorph.errors",
    "ModuleGraph": "netmorph.graph.spec",
    "MorphResult": "netmorph.surgery.morph",
    "NetmorphError": "netmorph.errors",
    "NotationError": "netmorph.errors",
    "ParityError": "netmorph.errors",
    "SiteError": "netmorph.errors",
    "Solution": "netmorph.solver.solution",
    "build": "netmorph.models.registry",
    "calibrate": "netmorph.surgery.calibrate",
    "catalogue": "netmorph.graph.catalogue",
    "cost": "netmorph.surgery.cost",
    "find_sites": "netmorph.surgery.sites",
    "load": "netmorph.surgery.checkpoint",
    "module_filter": "netmorph.solver.equation",
    "morph": "netmorph.surgery.morph",
    "parse": "netmorph.graph.notation",
    "plan": "netmorph.surgery.plan",
    "reduce": "netmorph.graph.reduce",
    "save": "netmorph.surgery.checkpoint",
    "solve": "netmorph.solver.solve",
    "verify": "netmorph.surgery.parity",
}

__all__ = [
    "Cost",
    "Edge",
    "GraphError",
    "InfeasibleMorph",
    "ModuleGraph",
    "MorphResult",
    "NetmorphError",
    "NotationError",
    "ParityError",
    "SiteError",
    "Solution",
    "__version__",
    "build",
    "calibrate",
    "catalogue",
    "cost",
    "find_sites",
    "load",
    "module_filter",
    "morph",
    "parse",
    "plan",
    "reduce",
    "save",
    "solve",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'netmorph' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
