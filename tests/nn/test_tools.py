"""PyTorch's tools see plain layers: compile, export, fx, functional calls, autocast."""

import os
import shutil

import pytest
import torch
from tests.nn.samples import build, noise
from torch import Tensor, nn
from torch.func import functional_call

from netmorph.nn import MorphedModule

NETS = {
    "conv": lambda: build("3 > 1 | 2 | 0.5*id", 6, norm="neutral", bias=True),
    "phi": lambda: build("3:2x > 1 | 1 > 3*dw > 1", norm="layer", act="gelu"),
    "group": lambda: build("3 > 1", norm="group", act="hardswish", dims=1),
    "halo": lambda: build("3 > 3 | 1", border="halo", bias=True),
    "strided halo": lambda: build("3:2x > 3", border="halo", stride=2),
    "linear": lambda: build("1:4x > 1 | 1", dims=0, norm="neutral", bias=True),
}


def example(net: MorphedModule, batch: int = 3) -> Tensor:
    dims, width = net.layout.site.dims, net.layout.site.c_in
    return noise(batch, *((width, *(6,) * dims) if dims else (5, width)))


def same(one: nn.Module, other: nn.Module, x: Tensor) -> None:
    """Assert equal outputs and equal gradients of the input."""
    results = []
    for each in (one, other):
        leaf = x.clone().requires_grad_()
        y = each(leaf)
        y.square().sum().backward()
        results.append((y.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(("name", "mode"), [*((name, "train") for name in NETS), ("conv", "eval")])
def test_compiles_without_a_graph_break(name: str, mode: str) -> None:
    net = NETS[name]().train(mode == "train")
    same(torch.compile(net, backend="aot_eager", fullgraph=True), net, example(net))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("name", NETS)
def test_compiles_with_inductor(name: str) -> None:
    net = NETS[name]().eval()
    same(torch.compile(net, fullgraph=True), net, example(net))


@pytest.mark.parametrize("name", NETS)
def test_exports_with_a_batch_and_a_size_of_any_number(name: str) -> None:
    net = NETS[name]().eval()
    dims = net.layout.site.dims
    free = {0: torch.export.Dim("n"), **({2: torch.export.Dim("h", min=4)} if dims else {})}
    program = torch.export.export(net, (example(net),), dynamic_shapes=(free,))
    x = example(net, batch=5)
    x = torch.cat([x, x], 2) if dims else x
    torch.testing.assert_close(program.module()(x), net(x))


@pytest.mark.parametrize("name", NETS)
def test_traces_symbolically(name: str) -> None:
    net = NETS[name]().eval()
    traced = torch.fx.symbolic_trace(net)
    torch.testing.assert_close(traced(example(net)), net(example(net)))


@pytest.mark.parametrize("name", NETS)
def test_calls_with_other_parameters(name: str) -> None:
    net = NETS[name]().eval()
    other = NETS[name]().eval()
    other.reset_parameters(torch.Generator().manual_seed(9))
    x = example(net)
    torch.testing.assert_close(functional_call(net, dict(other.named_parameters()), (x,)), other(x))


def test_a_hook_on_an_edge_sees_its_output() -> None:
    net, seen = build("3 > 1"), []
    net.edges["a_t"].register_forward_hook(lambda _m, _a, y: seen.append(y))
    assert torch.equal(net(noise(2, 4, 5, 5)), seen[0])


@pytest.mark.skipif(
    os.environ.get("ONEDNN_MAX_CPU_ISA") != "AVX512_CORE_BF16" and torch.cpu._is_amx_tile_supported(),
    reason="oneDNN's bfloat16 convolutions fail on some virtual machines that announce AMX",
)
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", NETS)
def test_runs_under_autocast(name: str, mode: str) -> None:
    net = NETS[name]().train(mode == "train")
    x = example(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(x)
    y.sum().backward()
    torch.testing.assert_close(y.float(), net(x), atol=0.1, rtol=0.1)
    assert all(p.grad is not None for p in net.parameters())
