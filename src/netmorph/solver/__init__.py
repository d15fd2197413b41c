"""Solving the modular network morphism equation (eq. 5): closed form by cuts, and the paper's Algorithm 2."""

from netmorph.solver.equation import module_filter
from netmorph.solver.plan import SitePlan, plan_site
from netmorph.solver.solution import Solution, Status
from netmorph.solver.solve import solve

__all__ = ["SitePlan", "Solution", "Status", "module_filter", "plan_site", "solve"]
