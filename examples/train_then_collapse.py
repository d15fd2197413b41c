"""
Train, then collapse
====================

Morph without activations, train, collapse: the network has more parameters during training than at inference.

This example trains a small ResNet on the Fashion-MNIST subset that comes with netmorph. It then continues in three
ways, with the same images in the same order: with the unchanged network; with the unchanged network at twice the
learning rate (parallel branches learn together, which has an effect similar to larger steps, so that this is the most
important control); and with its 3x3 convolutions morphed into three parallel linear branches, which are collapsed
after training. All three have the same architecture in the end.

``python examples/train_then_collapse.py FOLDER --seeds 0 1 2`` compares them. ``--quick``, as on this page, uses few
images and one epoch to show the procedure only; its results are meaningless.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import nn

import netmorph as nm
from netmorph.data.dataset import Dataset
from netmorph.data.fashion import load_fashion
from netmorph.train.loop import fit, mistakes
from netmorph.train.recipe import Recipe

GRAPH = "3x3 | 1x1 | 3x3"  # keeps the kernel, so that the layer collapses to what it was
AS_IS, FASTER, COLLAPSED = "trained on", "trained on, twice the rate", "morphed, trained on, collapsed"


def error(model: nn.Module, data: Dataset) -> float:
    """Return the test error in percent."""
    return 100 * mistakes(model, data).float().mean().item()


def one_seed(data: Dataset, seed: int, epochs: int) -> dict[str, float]:
    """Train a parent, go on in three ways, and return the test errors in percent."""
    recipe = Recipe(epochs=epochs, lr=0.1, batch_size=64, pad=1)
    faster = Recipe(epochs=epochs, lr=0.2, batch_size=64, pad=1)
    parent = nm.build("netmorph:resnet8", width=8, stem_stride=2, in_channels=1, seed=seed)
    fit(parent, data, recipe, seed=1_000 * seed + 1)
    errors = {"parent": error(parent, data)}

    for name, how in ((AS_IS, recipe), (FASTER, faster)):
        model = copy.deepcopy(parent)
        fit(model, data, how, seed=1_000 * seed + 2)
        errors[name] = error(model, data)

    x = data.normalise(data.test.images[:32])
    child = nm.morph(parent, {"layer*.conv*": GRAPH}, example_inputs=x, act=None, norm=None, seed=seed).model
    fit(child, data, recipe, seed=1_000 * seed + 2)
    result = nm.collapse(child, x)
    assert not result.kept
    assert str(result.model) == str(parent)  # at inference the same architecture, layer by layer
    assert result.parity is not None
    assert result.parity.max_rel < 1e-4
    errors[COLLAPSED] = error(result.model, data)
    return errors


def draw(rows: list[dict[str, float]], target: Path) -> None:
    """Draw the errors of each seed, with their mean."""
    figure = Figure(figsize=(7, 2.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for height, name in enumerate(rows[0]):
        values = [row[name] for row in rows]
        axes.plot(values, [height] * len(values), "o", color="#0072B2", alpha=0.6)
        axes.plot(mean(values), height, "|", color="black", markersize=18)
    axes.set(
        yticks=range(len(rows[0])), yticklabels=list(rows[0]), xlabel="test error (%), a dot a seed, a line the mean"
    )
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target)


def main() -> Path:
    """Run the seeds, print a table, and return the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where the picture goes; default: a new one")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="few images and one epoch: the figures mean nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)  # faster, for layers as small as these, and the same on every machine
    data = load_fashion()
    data, epochs = (data.first(500, 200), 1) if options.quick else (data.first(4_000, 2_000), 3)
    rows: list[dict[str, float]] = []
    for seed in options.seeds:
        began = time.perf_counter()
        rows.append(one_seed(data, seed, epochs))
        shown = ", ".join(f"{name} {value:.2f}" for name, value in rows[-1].items())
        print(f"seed {seed}: test error in percent: {shown} ({time.perf_counter() - began:.0f} s)", flush=True)
    print()
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name:32} {mean(values):6.2f}" + (f" ± {stdev(values):.2f} over seeds" if len(rows) > 1 else ""))
    for name in (AS_IS, FASTER):
        gains = [row[name] - row[COLLAPSED] for row in rows]
        better = sum(gain > 0 for gain in gains)
        print(
            f"collapsed against {name!r}: {mean(gains):+.2f} points on average, better in {better} of {len(rows)} seeds"
        )
    target = (options.folder or Path(tempfile.mkdtemp())) / "train_then_collapse.png"
    draw(rows, target)
    print("the picture:", target)
    return target


if __name__ == "__main__":
    picture = main()
