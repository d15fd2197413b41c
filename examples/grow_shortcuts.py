"""
Grow a ResNet's shortcuts
=========================

The paper's experiments keep a ResNet's convolutions and grow its identity shortcuts (section 4.1): one half of each
identity stays, and the other half becomes two 1x1 convolutions that initially compute the same.
"""

import sys
import tempfile
from pathlib import Path

import torch

import netmorph as nm

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
parent = nm.build("netmorph:resnet14", num_classes=10, seed=0)
images = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    for _ in range(40):  # in place of training: the running statistics settle
        parent.train()(images)
parent.eval()

# %%
# The shortcuts
# -------------
#
# Identities are sites like convolutions. Where the shape changes, the shortcut is a projection, which is left out.

shortcuts = nm.find_sites(parent, images[:2]).select("*.shortcut*")
identities = [site for site in shortcuts if site.kind == "identity"]
for site in identities:
    print(site)
assert identities

# %%
# Half of each becomes a branch
# -----------------------------
#
# ``0.5*id | 1x1 > 1x1``, with BatchNorms that take their statistics from data and are born as the identity (eq. 9), and
# an activation that is born as the identity too (eq. 8).

result = nm.morph(
    parent, {site.name: "morph_1c1" for site in identities}, example_inputs=images, calibration=[images], seed=0
)
print(result.cost)
print(f"largest relative difference: in eval mode {result.parity.max_rel:.1e}")
assert result.parity.exact

# %%
# In train mode BatchNorm normalises by each batch's own statistics, so there child and parent are close, not equal:

print(f"in train mode {result.parity.train_max_rel:.1e}")

# %%
# The block as a module
# ---------------------
#
# Seen as one graph, the residual block of Figure 4 (a) becomes that of Figure 4 (b):

picture = nm.draw(nm.catalogue["resnet_morph_1c1"], folder / "grow_shortcuts.svg", strip=True)
print("the picture:", picture)
