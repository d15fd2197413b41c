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
    from netmorph.surgery.collapsing.collapse import CollapseResult, collapse
    from netmorph.surgery.growth.deepen import deepen
    from netmorph.surgery.growth.grow_kernel import grow_kernel
    from netmorph.surgery.growth.regrow import regrow
    from netmorph.surgery.growth.widen import widen
    from netmorph.surgery.morphing.morph import morph
    from netmorph.surgery.morphing.plan import plan
    from netmorph.surgery.morphing.result import Result
    from netmorph.surgery.optim.param_groups import param_groups
    from netmorph.surgery.optim.rebuild_ema import rebuild_ema
    from netmorph.surgery.optim.rebuild_optimizer import check_optimizer, rebuild_optimizer
    from netmorph.surgery.parity.network import verify
    from netmorph.surgery.records.checkpoint import save
    from netmorph.surgery.running.calibrate import calibrate
    from netmorph.surgery.running.cost import Cost, cost
    from netmorph.surgery.sites.find import find_sites

# Where each public name lives.
_HOME = {
    "CollapseResult": "netmorph.surgery.collapsing.collapse",
    "Cost": "netmorph.surgery.running.cost",
    "Edge": "netmorph.graph.spec",
    "GraphError": "netmorph.errors",
    "InfeasibleMorph": "netmorph.errors",
    "ModuleGraph": "netmorph.graph.spec",
    "NetmorphError": "netmorph.errors",
    "NotationError": "netmorph.errors",
    "ParityError": "netmorph.errors",
    "SiteError": "netmorph.errors",
    "Result": "netmorph.surgery.morphing.result",
    "Solution": "netmorph.solver.solution",
    "build": "netmorph.models.registry",
    "calibrate": "netmorph.surgery.running.calibrate",
    "catalogue": "netmorph.graph.catalogue",
    "check_optimizer": "netmorph.surgery.optim.rebuild_optimizer",
    "collapse": "netmorph.surgery.collapsing.collapse",
    "cost": "netmorph.surgery.running.cost",
    "deepen": "netmorph.surgery.growth.deepen",
    "draw": "netmorph.graph.draw.write",
    "find_sites": "netmorph.surgery.sites.find",
    "grow_kernel": "netmorph.surgery.growth.grow_kernel",
    "load": "netmorph.models.opening",
    "module_filter": "netmorph.solver.equation",
    "morph": "netmorph.surgery.morphing.morph",
    "param_groups": "netmorph.surgery.optim.param_groups",
    "parse": "netmorph.graph.notation",
    "plan": "netmorph.surgery.morphing.plan",
    "rebuild_ema": "netmorph.surgery.optim.rebuild_ema",
    "rebuild_optimizer": "netmorph.surgery.optim.rebuild_optimizer",
    "reduce": "netmorph.graph.reduce",
    "regrow": "netmorph.surgery.growth.regrow",
    "save": "netmorph.surgery.records.checkpoint",
    "solve": "netmorph.solver.solve",
    "verify": "netmorph.surgery.parity.network",
    "widen": "netmorph.surgery.growth.widen",
}

__all__ = [
    "CollapseResult",
    "Cost",
    "Edge",
    "GraphError",
    "InfeasibleMorph",
    "ModuleGraph",
    "NetmorphError",
    "NotationError",
    "ParityError",
    "Result",
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
