"""
A complex module, and why the paper needs Algorithm 2
=====================================================

Many modules can be built from a single convolution by splitting edges in series and in parallel, but not all of them:
no sequence of such steps leads to the paper's module (D) (Proposition 7). Its filters have to be solved for jointly.
"""

import sys
import tempfile
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import netmorph as nm

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())

# %%
# What does not come apart
# ------------------------
#
# Algorithm 1 merges what is in series and what is in parallel. In module (D) nothing is: all seven edges remain.

graph = nm.catalogue["module_d"]
reduction = nm.reduce(graph)
print(f"{len(graph.edges)} edges, irreducible core of {len(reduction.core.edges)}")
assert not reduction.is_simple
picture = nm.draw(graph, folder / "module_d.svg")

# %%
# Algorithm 2: one edge at a time
# -------------------------------
#
# The equation to solve is (6): ``G = F5 F1 + F6 (F3 F1 + F4 F2) + F7 F2``. It is not linear in the filters together,
# but in each one alone. So the paper draws all but one at random, solves for that by least squares, goes on to the
# next, and watches the loss fall.

target = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
alternating = nm.solve(target, graph, method="alternating", seed=0, max_iter=8)
residuals = [loss**0.5 / target.norm() for loss in alternating.stats["losses"]]
print(f"{len(residuals)} least-squares solves, relative residual {alternating.residual:.1e}")
assert abs(residuals[-1] - alternating.residual) < 1e-6

# %%
# All at once
# -----------
#
# The filters of the edges that leave the source (F1 and F2) enter *linearly together*, since each path has just one of
# them. netmorph draws the others so that only their middle tap is non-zero, and solves for F1 and F2 in one go.

direct = nm.solve(target, graph, seed=0)
print(f"one solve, relative residual {direct.residual:.1e}, condition {direct.stats['condition']:.1f}")
assert direct.residual < 1e-12

# %%
# The residual, solve by solve
# ----------------------------

figure = Figure(figsize=(7, 3.6), dpi=120, layout="constrained")
FigureCanvasAgg(figure)
axes = figure.add_subplot()
axes.semilogy(range(1, len(residuals) + 1), residuals, "o-", color="#D55E00", markersize=3, label="Algorithm 2")
axes.axhline(direct.residual, color="#0072B2", label="closed form, one solve")
axes.set(xlabel="least-squares solves", ylabel="relative residual")
axes.legend(frameon=False)
axes.grid(color="0.92")
axes.spines[["top", "right"]].set_visible(False)
picture = folder / "complex_module.png"
figure.savefig(picture)
print("the picture:", picture)
