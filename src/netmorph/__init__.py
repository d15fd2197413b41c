"""Grow a trained PyTorch network without losing what it has learned.

The public verbs of netmorph. Everything is imported on first use, so that ``import netmorph`` (and ``netmorph --help``)
loads neither torch nor networkx.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from netmorph._version import __version__

if TYPE_CHECKING:
    from netmorph.errors import GraphError, InfeasibleMorph, NetmorphError, NotationError, ParityError, SiteError
    from netmorph.graph.catalogue import catalogue
    from netmorph.graph.draw.write import draw
    from netmorph.graph.notation import parse
    from netmorph.graph.reduce import reduce
    from netmorph.graph.spec import Edge, ModuleGraph
    from netmorph.models.opening import load
    from netmorph.models.registry import build
    from netmorph.solver.equation import module_filter
    from netmorph.solver.solution import Solution
    from netmorph.solver.solve import solve
    from netmorph.surgery.calibrate import calibrate
    from netmorph.surgery.checkpoint import save
    from netmorph.surgery.collapse import CollapseResult, collapse
    from netmorph.surgery.cost import Cost, cost
    from netmorph.surgery.deepen import deepen
    from netmorph.surgery.ema import rebuild_ema
    from netmorph.surgery.grow_kernel import grow_kernel
    from netmorph.surgery.growth import GrowthResult
    from netmorph.surgery.morph import MorphResult, morph
    from netmorph.surgery.optimizer import check_optimizer, rebuild_optimizer
    from netmorph.surgery.param_groups import param_groups
    from netmorph.surgery.parity import verify
    from netmorph.surgery.plan import plan
    from netmorph.surgery.regrow import regrow
    from netmorph.surgery.sites import find_sites
    from netmorph.surgery.widen import widen

# Where each public name lives.
_HOME = {
    "CollapseResult": "netmorph.surgery.collapse",
    "Cost": "netmorph.surgery.cost",
    "Edge": "netmorph.graph.spec",
    "GraphError": "netmorph.errors",
    "GrowthResult": "netmorph.surgery.growth",
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
    "check_optimizer": "netmorph.surgery.optimizer",
    "collapse": "netmorph.surgery.collapse",
    "cost": "netmorph.surgery.cost",
    "deepen": "netmorph.surgery.deepen",
    "draw": "netmorph.graph.draw.write",
    "find_sites": "netmorph.surgery.sites",
    "grow_kernel": "netmorph.surgery.grow_kernel",
    "load": "netmorph.models.opening",
    "module_filter": "netmorph.solver.equation",
    "morph": "netmorph.surgery.morph",
    "param_groups": "netmorph.surgery.param_groups",
    "parse": "netmorph.graph.notation",
    "plan": "netmorph.surgery.plan",
    "rebuild_ema": "netmorph.surgery.ema",
    "rebuild_optimizer": "netmorph.surgery.optimizer",
    "reduce": "netmorph.graph.reduce",
    "regrow": "netmorph.surgery.regrow",
    "save": "netmorph.surgery.checkpoint",
    "solve": "netmorph.solver.solve",
    "verify": "netmorph.surgery.parity",
    "widen": "netmorph.surgery.widen",
}

__all__ = [
    "CollapseResult",
    "Cost",
    "Edge",
    "GraphError",
    "GrowthResult",
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
    "check_optimizer",
    "collapse",
    "cost",
    "deepen",
    "draw",
    "find_sites",
    "grow_kernel",
    "load",
    "module_filter",
    "morph",
    "param_groups",
    "parse",
    "plan",
    "rebuild_ema",
    "rebuild_optimizer",
    "reduce",
    "regrow",
    "save",
    "solve",
    "verify",
    "widen",
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
