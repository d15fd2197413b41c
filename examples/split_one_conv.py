"""
Split one convolution
=====================

The smallest morph: one trained convolution becomes three, and the network computes the same function.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import netmorph as nm

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
torch.manual_seed(0)
parent = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
x = torch.randn(2, 3, 16, 16)

# %%
# A graph, and how it grows
# -------------------------
#
# ``3x3 > 1x1 | 1x1`` is a 3x3 convolution, then a 1x1 one, beside another 1x1. Algorithm 1 of the paper takes it apart
# again, merging edges in series and in parallel until one edge is left; backwards, these are the steps in which one
# convolution becomes the module.

graph = nm.parse("3x3 > 1x1 | 1x1")
for step in nm.reduce(graph).steps:
    print(f"type {step.type}: edge {step.edge.name} becomes {step.edges[0].name} and {step.edges[1].name}")

# %%
# The morph
# ---------
#
# netmorph does not take the steps one by one: all filters are solved for at once.

result = nm.morph(parent, {"2": graph}, example_inputs=x, seed=0)
print(result.model)
print(f"largest difference of the outputs: {result.parity.max_abs:.1e}")
assert result.parity.exact

# %%
# Step by step
# ------------

picture = nm.draw(graph, folder / "split_one_conv.svg", strip=True)
print("the picture:", picture)
