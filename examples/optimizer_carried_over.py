"""
Keep the optimizer's state
==========================

Growing a network in the middle of training replaces parameters. An unchanged optimizer keeps updating the old
parameters, without an error, and a new optimizer starts without the state of the parameters that remain.
``rebuild_optimizer`` avoids both. This example compares the three on the same child, with the same data.
"""

import copy
import sys
import tempfile
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import nn

import netmorph as nm

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
torch.set_num_threads(1)
torch.manual_seed(0)

# %%
# A little training
# -----------------
#
# A small network learns to imitate another one.

teacher = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.Tanh(), nn.Conv2d(12, 4, 3, padding=1)).requires_grad_(False)
for parameter in teacher.parameters():
    parameter.mul_(2)
student = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> list[float]:
    """Train on fresh noise, the same for the same seed, and return the losses."""
    noise, losses = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        x = torch.randn(16, 3, 12, 12, generator=noise)
        loss = nn.functional.mse_loss(model(x), teacher(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


optimizer = torch.optim.SGD(student.parameters(), lr=0.03, momentum=0.95)
before = train(student, optimizer, 40, seed=1)

# %%
# Grow, three times the same
# --------------------------

x = torch.randn(2, 3, 12, 12)
twins = {name: copy.deepcopy((student, optimizer)) for name in ("carried over", "fresh", "not told")}
after = {}
for name, (network, theirs) in twins.items():
    own = theirs
    result = nm.morph(network, {"2": "3x3:2x > 1x1 | 1x1"}, example_inputs=x, seed=0, inplace=True)
    if name == "carried over":
        rebuilt = nm.rebuild_optimizer(result, theirs)
        print("kept:", *rebuilt.kept)
        print("new: ", *rebuilt.joined)
    if name == "fresh":
        own = torch.optim.SGD(nm.param_groups(network, lr=0.03), momentum=0.95)
    after[name] = train(network, own, 100, seed=2)

# %%
# The first loss after the growth is the same for all three, since the function is. Then they part:

for name, losses in after.items():
    print(f"{name:13} first {losses[0]:.4f}, mean of the first 20 {sum(losses[:20]) / 20:.4f}, last {losses[-1]:.4f}")
assert max(losses[0] for losses in after.values()) - min(losses[0] for losses in after.values()) < 1e-5
assert after["carried over"][-1] < after["not told"][-1]

# %%
# The losses
# ----------
#
# One run of a toy. How much a fresh optimizer loses depends on the learning rate and on what it had learned; with
# momentum it is a matter of some steps. What the optimizer was not told of never learns at all.

figure = Figure(figsize=(7, 3.6), dpi=120, layout="constrained")
FigureCanvasAgg(figure)
axes = figure.add_subplot()
axes.semilogy(range(40), before, color="0.3", label="before")
for (name, losses), color in zip(after.items(), ("#0072B2", "#D55E00", "#CC79A7"), strict=True):
    axes.semilogy(range(40, 140), losses, color=color, label=f"grown, optimizer {name}")
axes.axvline(40, color="0.7", linestyle="--", linewidth=1)
axes.set(xlabel="step", ylabel="loss")
axes.legend(frameon=False)
axes.grid(color="0.92")
axes.spines[["top", "right"]].set_visible(False)
picture = folder / "optimizer_carried_over.png"
figure.savefig(picture)
print("the picture:", picture)
