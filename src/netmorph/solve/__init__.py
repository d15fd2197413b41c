"""Solving the modular network morphism equation (eq. 5): closed form by cuts, and the paper's Algorithm 2."""

from netmorph.solve.equation import module_filter
from netmorph.solve.plan import SitePlan, plan_site
from netmorph.solve.solution import Solution, Status
from netmorph.solve.solve import solve

__all__ = ["SitePlan", "Solution", "Status", "module_filter", "plan_site", "solve"]
