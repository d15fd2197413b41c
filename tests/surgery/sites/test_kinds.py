"""Layers of timm, torchvision and Hugging Face: morphed exactly, or refused with the reason."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from tests.surgery.networks import left_alone
from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.filters.geometry import ConvSpec
from netmorph.nn.same_padded import SamePaddedModule, same_padding
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.checkpoint import load, save
from netmorph.surgery.sites.find import find_sites
from netmorph.surgery.sites.kinds import layer_weight

layers = pytest.importorskip("timm.layers")
Conv2dSameExport = importlib.import_module("timm.layers.conv2d_same").Conv2dSameExport


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def seeded_layer(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = make().to(dtype)
        if hasattr(layer, "gain"):
            nn.init.normal_(layer.gain)
    return layer


class Conv1D(nn.Module):
    """As in `transformers.pytorch_utils`: a linear layer with a weight (in, out)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = nn.Parameter(torch.randn(nx, nf))
        self.bias = nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], self.nf)


Conv1D.__module__ = "transformers.pytorch_utils"

# (layer, graphs, input without its spatial sizes)
FOREIGN = [
    pytest.param(lambda: Conv1D(6, 4), ["1 > 1 | 1", "1:2x > 1"], id="Conv1D"),
    pytest.param(lambda: Conv1D(4, 4), ["1 > 1"], id="Conv1D, square"),
    pytest.param(lambda: layers.Linear(4, 6), ["1 > 1 | 1"], id="timm Linear"),
    pytest.param(lambda: layers.Conv2dSame(4, 6, 3, stride=2), ["3x3 > 1x1 | 1x1", "5x5 > 1x1"], id="same, strided"),
    pytest.param(lambda: layers.Conv2dSame(4, 6, (2, 3), stride=(3, 1)), ["3x3 > 1x1 | 2x3"], id="same, asymmetric"),
    pytest.param(
        lambda: layers.Conv2dSame(4, 6, 3, stride=2, dilation=2, bias=False), ["3x3 > 1x1"], id="same, dilated"
    ),
    pytest.param(lambda: layers.Conv2dSame(4, 4, 4, groups=4), ["4x4*dw > 1x1*dw"], id="same, depthwise and even"),
    pytest.param(lambda: layers.StdConv2d(4, 6, 3, padding=1), ["3x3 > 1x1 | 1x1"], id="standardised"),
    pytest.param(lambda: layers.StdConv2dSame(4, 6, 3, stride=2), ["3x3 > 1x1 | 1x1"], id="standardised, same"),
    pytest.param(lambda: layers.ScaledStdConv2d(4, 6, 3, gamma=1.7), ["3x3 > 1x1 | 1x1"], id="scaled"),
    pytest.param(lambda: layers.ScaledStdConv2dSame(4, 6, 3, 2, gamma=1.7), ["3x3 > 1x1 | 1x1"], id="scaled, same"),
    pytest.param(lambda: layers.ScaledStdConv2dSame(4, 6, 3), ["3x3 > 1x1 | 1x1"], id="scaled, statically same"),
]


def inputs(layer: nn.Module, dtype: torch.dtype) -> list[Tensor]:
    sizes = [(9, 12), (8, 8), (11, 7)] if isinstance(layer, nn.Conv2d) else [(5, 4), (2, 4)]
    return [
        drawn(2, 4, *size, dtype=dtype) if isinstance(layer, nn.Conv2d) else drawn(3, *size, dtype=dtype)
        for size in sizes
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("make", "graphs"), FOREIGN)
def test_foreign_layers_morph_exactly(
    make: Callable[[], nn.Module], graphs: list[str], dtype: torch.dtype, tmp_path: Path
) -> None:
    parent = nn.Sequential(seeded_layer(make, dtype), nn.ReLU())
    first, *others = inputs(parent[0], dtype)
    for graph in graphs:
        with left_alone(parent):
            result = morph(parent, {"0": graph}, example_inputs=first)
        assert result.parity.exact
        assert result.parity.sites[0].max_rel < (1e-12 if dtype == torch.float64 else 2e-6)
        assert any("standardised its weight" in notice for notice in result.notices) == ("Std" in str(parent[0]))
        for x in others:  # input sizes that no solver and no parity has seen
            torch.testing.assert_close(result.model(x), parent(x), rtol=0, atol=2e-5)
            if x.dim() == 4:
                torch.testing.assert_close(result.model(x[0]), parent(x[0]), rtol=0, atol=2e-5)
        save(result.model, tmp_path / "child")
        again = load(tmp_path / "child", into=copy.deepcopy(parent))
        assert torch.equal(again(first), result.model(first))


def test_dense_fill_behind_same_padding() -> None:
    parent = nn.Sequential(seeded_layer(lambda: layers.Conv2dSame(2, 2, 5, stride=2), torch.float64))
    x = drawn(2, 2, 9, 12, dtype=torch.float64)
    result = morph(parent, {"0": "3x3:4x > 3x3"}, example_inputs=x, fill="dense", act=None)
    assert result.parity.exact
    assert isinstance(result.model[0], SamePaddedModule)
    torch.testing.assert_close(result.model(x[..., :-1]), parent(x[..., :-1]), rtol=0, atol=1e-9)


@given(size=st.integers(1, 20), kernel=st.integers(1, 6), stride=st.integers(1, 5), dilation=st.integers(1, 4))
def test_same_padding_is_timms(size: int, kernel: int, stride: int, dilation: int) -> None:
    spec = ConvSpec(1, 1, (kernel,), (stride,), (dilation,))
    ((before, after),) = same_padding(spec, (size,))
    total = layers.padding.get_same_padding(size, kernel, stride, dilation)
    assert (before, after) == (total // 2, total - total // 2)
    assert spec.with_(padding=((before, after),)).output_size((size,)) == (-(-size // stride),)


def test_the_effective_weight_is_what_the_layer_applies() -> None:
    layer = seeded_layer(lambda: layers.ScaledStdConv2d(4, 6, 3, gamma=1.7, bias=False), torch.float64)
    impulses = torch.zeros(4, 4, 5, 5, dtype=torch.float64)
    impulses[range(4), range(4), 2, 2] = 1
    response = layer(impulses)[:, :, 1:4, 1:4].flip(2, 3).transpose(0, 1)
    torch.testing.assert_close(layer_weight(layer), response.detach())


def test_the_parent_of_a_checkpoint_must_have_the_same_layer(tmp_path: Path) -> None:
    foreign = [layers.Conv2dSame(4, 6, 3, stride=2), layers.StdConv2d(4, 6, 3, stride=2), nn.Conv2d(4, 6, 3, stride=2)]
    for layer in foreign:
        save(
            morph(nn.Sequential(layer), {"0": "3x3 > 1x1"}, example_inputs=drawn(1, 4, 9, 9)).model, tmp_path / "child"
        )
        for other in foreign:
            parent = nn.Sequential(copy.deepcopy(other))
            if other is not layer:
                with pytest.raises(NetmorphError, match="layer is not the one that was morphed"):
                    load(tmp_path / "child", into=parent)
            else:
                load(tmp_path / "child", into=parent)


def test_a_frozen_foreign_layer_stays_frozen() -> None:
    layer = seeded_layer(lambda: Conv1D(4, 4))
    layer.weight.requires_grad_(False)
    child = morph(nn.Sequential(layer), {"0": "1 > 1"}, example_inputs=drawn(3, 4)).model[0]
    assert not any(edge.weight.requires_grad for edge in child.edges.children())
    assert child.bias.requires_grad


class Lookalike(nn.Conv2d):
    """Has a name that timm uses, and is not timm's."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


Lookalike.__name__ = "Conv2dSame"


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Lookalike(2, 2, 1), "Conv2dSame, a subclass of Conv2d with a forward of its own"),
        (Conv2dSameExport(2, 2, 1), "a timm.layers.conv2d_same.Conv2dSameExport, a subclass"),
        (layers.CondConv2d(2, 2, 1), "does not know what a timm.layers.cond_conv2d.CondConv2d computes"),
        (
            torchvision.ops.DeformConv2d(2, 2, 1),
            "does not know what a torchvision.ops.deform_conv.DeformConv2d computes",
        ),
    ],
    ids=["name alone", "export", "conditional", "deformable"],
)
def test_other_layers_are_refused(layer: nn.Module, reason: str) -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return x

    assert reason in find_sites(Held(), drawn(1, 2, 4, 4)).refused["layer"]


@pytest.mark.parametrize(
    "layer",
    [
        nn.modules.linear.NonDynamicallyQuantizableLinear(4, 4),
        torchvision.models.video.resnet.Conv3DSimple(4, 4, 4),
        torchvision.ops.Conv2dNormActivation(4, 4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_subclasses_that_compute_what_their_base_does(layer: nn.Module) -> None:
    ranks = {
        "NonDynamicallyQuantizableLinear": (2, 4),
        "Conv3DSimple": (1, 4, 3, 5, 5),
        "Conv2dNormActivation": (2, 4, 5, 5),
    }
    x = drawn(*ranks[type(layer).__name__])
    model = nn.Sequential(layer).eval()
    graph = {2: "1 > 1", 4: "3x3 > 1x1", 5: "3 > 1"}[x.dim()]
    assert morph(model, {"0*": graph}, example_inputs=x).parity.exact


# --- whole models


def test_gpt2s_conv1d_and_blocks(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng():
        config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=16)
        model = transformers.GPT2Model(config).eval()
    x = {"input_ids": torch.arange(7)[None], "use_cache": False}
    mapping = {"*.c_*": "1 > 1 | 1", "h.0.shortcut*": "0.5*id | 1 > 1"}
    result = morph(model, mapping, example_inputs=x)
    assert len(result.sites) == 6
    assert result.parity.exact
    save(result.model, tmp_path / "child")
    again = load(tmp_path / "child", into=copy.deepcopy(model))
    masked = {**x, "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0, 0]])}
    for call in (x, masked):  # the block hands its mask on, so that another call may have one
        assert torch.equal(again(**call)[0], result.model(**call)[0])
        torch.testing.assert_close(result.model(**call)[0], model(**call)[0], rtol=0, atol=1e-5)


def test_hugging_faces_vision_models() -> None:
    transformers = pytest.importorskip("transformers")
    x = {"pixel_values": drawn(1, 3, 16, 16)}
    with torch.random.fork_rng():
        vit = transformers.ViTModel(
            transformers.ViTConfig(
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                image_size=16,
                patch_size=8,
            )
        ).eval()
        convnext = transformers.ConvNextModel(
            transformers.ConvNextConfig(hidden_sizes=[8], depths=[1], num_stages=1)
        ).eval()
        resnet = transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 2], layer_type="basic")
        ).eval()
    assert morph(vit, {"*.fc1": "1 > 1 | 1", "*.shortcut*": "1 > 1"}, example_inputs=x).parity.exact
    assert morph(convnext, {"*.dwconv": "7x7*dw > 1x1*dw", "*.shortcut": "1x1 > 1x1"}, example_inputs=x).parity.exact
    assert morph(resnet, {"*.shortcut": "0.5*id | 3x3 > 1x1"}, example_inputs=x).parity.exact


def test_a_timm_model_with_same_padding() -> None:
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        model = timm.create_model("tf_mobilenetv3_small_minimal_100", num_classes=2).eval()
    x = drawn(1, 3, 33, 40)
    result = morph(model, {"conv_stem": "3x3 > 1x1 | 1x1", "blocks.0.0.conv_dw": "3x3*dw > 1x1*dw"}, example_inputs=x)
    assert result.parity.exact
    assert all(isinstance(result.model.get_submodule(site.name), SamePaddedModule) for site in result.sites)
