"""Children outside PyTorch's eager mode: torch.export, ONNX Runtime, torch.compile, and after collapsing."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.surgery.networks import images, seeded, small
from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.morphing.morph import morph


class Tokens(nn.Module):
    """A network of tokens: a convolution along time, attention's linear layers, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv1d(3, 8, 4, padding="same", padding_mode="circular")
        self.up = nn.Linear(8, 16)
        self.skip = nn.Identity()
        self.down = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).transpose(1, 2)
        return (self.down(torch.relu(self.up(x))) + self.skip(x)).mean(1)


def _images() -> tuple[nn.Module, Tensor]:
    mapping = {"*.0.conv1": "module_d", "*.0.conv2": "3x3*dw > 1x1 | 3x3", "*.0.shortcut": "0.5*id | 3x3 > 1x1"}
    child = morph(small(), mapping, example_inputs=images(), calibration=[images(8)]).model
    child = morph(child, {"*.1.conv1": "3x3:4x > 3x3"}, example_inputs=images(), fill="dense").model
    return morph(child, {"fc": "1:2x > 1 | 1"}, example_inputs=images(), norm="group").model, images(3, seed=1)


def _tokens() -> tuple[nn.Module, Tensor]:
    x = torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(0))
    mapping = {"embed": "4 > 1 | 3", "up": "1:2x > 1*dw:2x > 1", "skip": "1 > 1"}
    return morph(seeded(Tokens()), mapping, example_inputs=x, act="gelu", norm="layer").model, x


def _same(model: nn.Module) -> nn.Module:
    return model


def _collapsed(model: nn.Module) -> nn.Module:
    return collapse(model, approximate=True).model


CHILDREN = {"images": _images, "tokens": _tokens}


@pytest.fixture(params=CHILDREN)
def child(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    """A child in eval mode whose slopes have moved, and an input."""
    model, x = CHILDREN[request.param]()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval(), x


def bigger(x: Tensor) -> Tensor:
    """Another batch, of another length."""
    return torch.cat([x, x], -1)[:2]


def sizes(x: Tensor) -> tuple[dict[int, Any]]:
    """Any number of samples of any length."""
    return ({0: torch.export.Dim("n"), x.dim() - 1: torch.export.Dim("w", min=4)},)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_exported_and_read_again(child: tuple[nn.Module, Tensor]) -> None:
    model, x = child
    program = torch.export.export(model, (x,), dynamic_shapes=sizes(x))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    for each in (x, bigger(x)):
        torch.testing.assert_close(again(each), model(each))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("mode", [pytest.param("train", marks=pytest.mark.slow), "eval"])
def test_compiles_without_a_graph_break(child: tuple[nn.Module, Tensor], mode: str) -> None:
    model, x = child
    for module in model.modules():  # dropout draws random numbers
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.train(mode == "train")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for each in (x, bigger(x)):
        results = []
        for net in (model, compiled):
            leaf = each.clone().requires_grad_()
            y = net(leaf)
            y.square().sum().backward()
            results.append((y.detach(), leaf.grad))
        torch.testing.assert_close(*results)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "change", [pytest.param(_same, id="child"), pytest.param(_collapsed, id="collapsed", marks=pytest.mark.slow)]
)
def test_onnx_runtime_computes_the_same(
    child: tuple[nn.Module, Tensor], change: Callable[[nn.Module], nn.Module]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, x = child
    model = change(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=sizes(x), verbose=False)
        data = program.model_proto.SerializeToString()
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (name,) = (node.name for node in session.get_inputs())
    for each in (x, bigger(x)):
        (y,) = session.run(None, {name: each.numpy()})
        expected = model(each).detach()
        scale = float(expected.abs().max())
        torch.testing.assert_close(torch.from_numpy(y), expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # torch.jit's own
def test_scripting_is_refused_and_tracing_works() -> None:
    model = morph(small(), {"*.conv1": "3x3 > 1x1 | 1x1"}, example_inputs=images()).model.eval()
    before = str(model)
    with pytest.raises(NetmorphError, match=r"torch\.jit\.script cannot compile a morphed module \(3x3 > 1x1 \| 1x1\)"):
        torch.jit.script(model)
    assert str(model) == before
    torch.testing.assert_close(torch.jit.trace(model, images())(images(seed=1)), model(images(seed=1)))
