"""Morphing whole networks: every eligible site, against one forward pass of the parent."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import torch
from benchmarks.measure import Times, once
from benchmarks.report import Report, Target, run
from benchmarks.zoo.graphs import notation
from torch import nn

from netmorph.models.registry import build
from netmorph.surgery.morph import morph
from netmorph.surgery.sites import find_sites

QUESTION = "How long does morphing a whole network take, beside one forward pass of its parent?"
NETWORKS = {
    "resnet50": "*",
    "resnet152": "*",
    "convnext_base": "*",
    "efficientnet_b7": "*",
    "vit_l_16": "*mlp*",
}
BATCH, SIDE = 32, 224
# What runs layers or networks to look at them or to measure them, apart from what solves, builds and swaps.
WATCHED = {
    "looking": ("find_sites", "probe", "repeat_gap", "cost"),
    "verifying": ("run_child", "differences", "site_parity"),
}


def measure(report: Report) -> None:
    """Morph every network once, and time its parts."""
    networks = {"resnet18": "layer1*"} if report.quick else NETWORKS
    for name, pattern in networks.items():
        batch, side = (1, 64) if report.quick else (BATCH, SIDE)
        torch.manual_seed(0)
        parent = build(f"torchvision:{name}").eval()
        x = torch.randn(batch, 3, side, side)
        sites = find_sites(parent, x[:1], shortcuts=False)
        mapping = {s.name: notation("simple", s.spec) for s in sites.select(pattern) if s.kind != "identity"}
        with torch.no_grad():
            parent(x)
            forward = Times(tuple(once(partial(parent, x)) for _ in range(1 if report.quick else 2))).median
            single = Times(tuple(once(partial(parent, x[:1])) for _ in range(5))).median
        _row(report, name, parent, mapping, x[:1], forward, single, "one image")
        if not report.quick and name == "resnet50":
            _row(report, name, parent, mapping, x, forward, forward, "the batch")
    report.notes = [
        f"The forward pass: the parent, batch {BATCH} at {SIDE}x{SIDE}, eval mode, no gradients. `K > 1 | 1` at every "
        "convolution and linear layer that is a site (of ViT-L the linear layers of its MLPs; attention reads its "
        "own projection's weight and is refused), the site's groups on every edge. Parts: solving (with building and "
        "swapping); looking: the runs that find sites, record what reaches them and count costs; verifying: the "
        "child's runs, and each module against its layer at two sizes, in eval and in train mode.",
        "verification in passes: the verifying seconds over a forward pass of the same example input.",
    ]


def _row(
    report: Report,
    name: str,
    parent: nn.Module,
    mapping: dict[str, str],
    example: torch.Tensor,
    forward: float,
    single: float,
    example_name: str,
) -> None:
    spent: dict[str, float] = dict.fromkeys(WATCHED, 0.0)
    with _timed(spent):
        total = once(lambda: morph(parent, mapping, example_inputs=example, check=False))
    solving = total - sum(spent.values())
    report.row(
        network=name,
        sites=len(mapping),
        example=example_name,
        **{"forward, batch 32": forward, "forward, example": single, "morph": total, "solving": solving},
        **spent,
        **{"without verification over forward": (solving + spent["looking"]) / forward},
        **{"verification in passes": spent["verifying"] / single},
    )
    row = report.rows[-1]
    what = f"{name}, example of {example_name}"
    over, passes = row["without verification over forward"], row["verification in passes"]
    report.targets.append(Target(f"{what}: morph without verification over one forward pass", over, 1.0))
    report.targets.append(Target(f"{what}: verification in forward passes of the example", passes, 2.0))


@contextmanager
def _timed(spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds of the watched functions where `morph` calls them; what one calls of another counts once."""
    places = [importlib.import_module(f"netmorph.surgery.{module}") for module in ("morph", "graft", "parity", "sites")]
    originals = [(p, n, getattr(p, n)) for p in places for names in WATCHED.values() for n in names if hasattr(p, n)]
    kinds = {name: kind for kind, names in WATCHED.items() for name in names}
    depth = [0]

    def watch(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            depth[0] += 1
            result: list[Any] = []
            try:
                seconds = once(lambda: result.append(function(*args, **kwargs)))
            finally:
                depth[0] -= 1
            if not depth[0]:
                spent[kind] += seconds
            return result[0]

        return timed

    try:
        for place, name, function in originals:
            setattr(place, name, watch(function, kinds[name]))
        yield
    finally:
        for place, name, function in originals:
            setattr(place, name, function)


if __name__ == "__main__":
    run("networks", QUESTION, measure)
