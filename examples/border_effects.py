"""
Border effects
==============

Two zero-padded 3x3 convolutions in series equal one 5x5 convolution, except near the border of the image. There the
feature map between them is cut off, and the second convolution reads zeros where the composed one would read the output
of the first. This example measures the difference, and shows that netmorph's modules do not have this error.
"""

import sys
import tempfile
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import conv2d

import netmorph as nm
from netmorph.filters import ConvSpec, Filter, compose

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
noise = torch.Generator().manual_seed(0)
image = torch.randn(1, 4, 16, 16, generator=noise, dtype=torch.float64)


def largest(difference: Tensor) -> Tensor:
    """Return the largest absolute difference of all channels at each position."""
    return difference.abs().amax(dim=(0, 1))


# %%
# Two convolutions against the one that they compose to
# -----------------------------------------------------
#
# The composed filter is exact (eq. 2 of the paper): away from the border nothing but rounding is left.

first = torch.randn(8, 4, 3, 3, generator=noise, dtype=torch.float64) / 6
second = torch.randn(4, 8, 3, 3, generator=noise, dtype=torch.float64) / 8.5
whole = compose(
    Filter.of(second, ConvSpec.same(8, 4, 3)),
    Filter.of(first, ConvSpec.same(4, 8, 3)),
)
in_series = conv2d(conv2d(image, first, padding=1), second, padding=1)
composed = conv2d(image, whole.weight, padding=2)
naive = largest(in_series - composed)
print(f"interior {naive[2:-2, 2:-2].max():.1e}, border {naive.max():.1e}; the signal's deviation: {composed.std():.2f}")

# %%
# The same graph, morphed
# -----------------------
#
# netmorph lets one edge of each path carry the layer's taps. The other 3x3 starts with its middle tap alone; its eight
# others are zero, and learn from the first step. Then the border is exact too.

layer = torch.nn.Conv2d(4, 4, 3, padding=1, dtype=torch.float64)
child = nm.morph(layer, {"": "3x3:2x > 3x3"}, example_inputs=image, act=None).model
with torch.no_grad():
    ours = largest(child(image) - layer(image))
print(f"interior {ours[2:-2, 2:-2].max():.1e}, border {ours.max():.1e}")
assert ours.max() < 1e-12 < naive.max()

# %%
# Side by side
# ------------

figure = Figure(figsize=(8, 3.6), dpi=120, layout="constrained")
FigureCanvasAgg(figure)
for axes, error, title in zip(
    figure.subplots(1, 2),
    (naive, ours),
    ("two padded convolutions\nagainst their 5x5", "a layer morphed into\n3x3 > 3x3"),
    strict=True,
):
    drawn = axes.imshow(error.clamp_min(1e-17).log10(), vmin=-17, vmax=0, cmap="viridis")
    axes.set(title=title, xticks=[], yticks=[])
figure.colorbar(drawn, ax=figure.axes, label="largest difference, power of ten")
picture = folder / "border_effects.png"
figure.savefig(picture)
print("the picture:", picture)
