"""
Understand and fix an error
===========================

A bottleneck with a quarter of the channels cannot represent what a full convolution has learned. netmorph reports this
before it changes anything, and suggests a remedy.
"""

import sys
import tempfile
import textwrap
from pathlib import Path

import torch
from torch import nn

import netmorph as nm

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
torch.manual_seed(0)
parent = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
x = torch.randn(2, 3, 12, 12)

# %%
# The refusal
# -----------

try:
    nm.morph(parent, {"2": "1x1 > 3x3:0.25x > 1x1 | 1x1:0.5x > 1x1"}, example_inputs=x)
except nm.InfeasibleMorph as error:
    print(textwrap.fill(str(error), 90))

# %%
# Seen
# ----
#
# The filter is 3x3, so but for its middle tap only the path with a 3x3 can carry it, and that path has a blob of 4
# channels, where 16 are needed: no more than a flow of 4 gets through. In the drawing, what is too narrow is red.

plan = nm.plan(parent, {"2": "1x1 > 3x3:0.25x > 1x1 | 1x1:0.5x > 1x1"}, example_inputs=x)[0].plan
print(plan.missing)
picture = nm.draw(plan, folder / "refused.svg")

# %%
# Fixed
# -----
#
# Either the blob is widened, as the remedy says, or the layer's own filter stays beside the bottleneck.

wider = nm.morph(parent, {"2": "1x1 > 3x3 > 1x1 | 1x1:0.5x > 1x1"}, example_inputs=x)
beside = nm.morph(parent, {"2": "1x1 > 3x3:0.25x > 1x1 | 1x1:0.5x > 1x1"}, example_inputs=x, keep_parent=True)
assert wider.parity.exact
assert beside.parity.exact
print("wider:     ", wider.cost)
print("parent kept:", beside.cost)

# %%
# The second of them:

picture = nm.draw(beside.sites[0].layout.graph, folder / "read_a_refusal.svg")
print("the picture:", picture)
