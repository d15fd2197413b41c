"""Morphing whole networks: every eligible site, against one forward pass of the parent."""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import torch
from benchmarks.report import Report, Target, run
from benchmarks.zoo.graphs import notation
from torch import Tensor, nn

from netmorph.models.registry import build
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.sites.find import find_sites

QUESTION = "How long does morphing a whole network take, beside one forward pass of its parent?"
NETWORKS = {
    "resnet50": "*",
    "resnet152": "*",
    "convnext_base": "*",
    "efficientnet_b7": "*",
    "vit_l_16": "*mlp*",
}
BATCH, SIDE = 32, 224
# What looks at the network, and what compares; the rest of `morph` solves, builds and swaps.
WATCHED: dict[str, dict[str, tuple[str, ...]]] = {
    "looking": {"morph": ("chosen_among",)},
    "verifying": {"transaction": ("repeat_gap", "run_child", "differences"), "solve_site": ("site_parity",)},
}


def measure(report: Report, only: Sequence[str] = ()) -> None:
    """Morph every network once, and time its parts."""
    networks = {"resnet18": "layer1*"} if report.quick else NETWORKS
    unknown = sorted(set(only) - set(networks))
    if unknown:
        raise SystemExit(f"--only: no network is called {', '.join(unknown)}; there are {', '.join(networks)}")
    report.notes = [
        f"The forward pass: the parent, batch {BATCH} at {SIDE}x{SIDE}, eval mode, no gradients. `K > 1 | 1` at every "
        "convolution and linear layer that is a site (of ViT-L the linear layers of its MLPs; attention reads its "
        "own projection's weight and is refused), the site's groups on every edge. Seconds of the processor, which "
        "other programs on the machine do not add to.",
        "Parts: looking: the parent's runs in eval and in train mode, which find the sites, record what reaches them "
        "and count its MACs; verifying: each module against its layer at two sizes, the child's run with its outputs "
        "against the parent's, and the parent's second run, which tells whether it is deterministic; solving: the "
        "rest, with building and swapping.",
        "A pass of the example: of the child, which is what is verified; its outputs cannot be compared without one. "
        "`K > 1 | 1` multiplies the cost of 1x1 convolutions, so that the child's pass is several of the parent's.",
    ]
    _warm_up()
    for name, pattern in networks.items():
        if only and name not in only:
            continue
        batch, side = (1, 64) if report.quick else (BATCH, SIDE)
        torch.manual_seed(0)
        parent = build(f"torchvision:{name}").eval()
        x = torch.randn(batch, 3, side, side)
        sites = find_sites(parent, x[:1], shortcuts=False)
        mapping = {s.name: notation("simple", s.spec) for s in sites.select(pattern) if s.kind != "identity"}
        forward = _forward(parent, x, 1 if report.quick else 2)
        _row(report, name, parent, mapping, x[:1], forward)
        if not report.quick and name == "resnet50":
            _row(report, name, parent, mapping, x, forward)


def _warm_up() -> None:
    """Import what the first morph of a process imports."""
    morph(nn.Sequential(nn.Conv2d(4, 4, 3)), {"0": "3 > 1 | 1"}, example_inputs=torch.zeros(1, 4, 5, 5))


def _seconds(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


@torch.no_grad()
def _forward(model: nn.Module, x: Tensor, rounds: int) -> float:
    model(x[:1])
    return statistics.median(_seconds(partial(model, x)) for _ in range(rounds))


def _row(
    report: Report, name: str, parent: nn.Module, mapping: dict[str, str], example: Tensor, forward: float
) -> None:
    spent: dict[str, float] = dict.fromkeys(WATCHED, 0.0)
    children: list[nn.Module] = []
    with _timed(spent):
        total = _seconds(lambda: children.append(morph(parent, mapping, example_inputs=example, check=False).model))
    rounds = 5 if len(example) == 1 else 1
    single, passed = _forward(parent, example, rounds), _forward(children[0].eval(), example, rounds)
    without = total - spent["verifying"]
    count = len(example)
    over, passes = without / forward, spent["verifying"] / passed
    what = f"{name}, example of {'one image' if count == 1 else f'{count} images'}"
    if count == 1:  # to look at more images takes passes of them
        report.targets.append(Target(f"{what}: morph without verification over one forward pass", over, 1.0))
    report.targets.append(Target(f"{what}: verification in forward passes of the example", passes, 2.0))
    report.row(
        network=name,
        sites=len(mapping),
        images=count,
        **{f"forward, batch {BATCH}": forward, "parent, example": single, "child, example": passed, "morph": total},
        solving=without - spent["looking"],
        **spent,
        **{"without verification over forward": over, "verification in child's passes": passes},
        **{"in parent's passes": spent["verifying"] / single},
    )


@contextmanager
def _timed(spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds of the watched functions where `morph` calls them."""
    originals = [
        (kind, importlib.import_module(f"netmorph.surgery.morphing.{module}"), name)
        for kind, modules in WATCHED.items()
        for module, names in modules.items()
        for name in names
    ]
    functions = [getattr(place, name) for _, place, name in originals]

    def watch(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            result: list[Any] = []
            spent[kind] += _seconds(lambda: result.append(function(*args, **kwargs)))
            return result[0]

        return timed

    try:
        for (kind, place, name), function in zip(originals, functions, strict=True):
            setattr(place, name, watch(function, kind))
        yield
    finally:
        for (_, place, name), function in zip(originals, functions, strict=True):
            setattr(place, name, function)


if __name__ == "__main__":
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--only", nargs="+", default=(), metavar="NETWORK", help="some of them")
    run("networks", QUESTION, measure, own=[options])
