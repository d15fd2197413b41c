import warnings
from pathlib import Path

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.surgery.growing import gap, pictures, replays, resnet, shaken
from tests.surgery.networks import left_alone, same, state
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.errors import NetmorphError, ParityError, SiteError
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer

X = pictures()


class Head(nn.Module):
    """Convolutions, pooling, flattening, two linear layers; functions rather than modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2)
        self.act = nn.PReLU(6)
        self.fc1 = nn.Linear(6 * 2 * 2, 8)
        self.norm = nn.LayerNorm(8)
        self.fc2 = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(F.max_pool2d(self.conv1(x), 2)) * 0.7 + 0.1
        x = F.adaptive_avg_pool2d(self.act(self.conv2(x)), 2)
        x = F.dropout(x.flatten(1), 0.5, self.training)
        return self.fc2(torch.tanh(self.norm(self.fc1(x))))


@pytest.mark.parametrize(
    ("site", "width", "shapes"),
    [
        ("conv1", 7, {"conv1": (7, 3, 3, 3), "conv2": (6, 7, 3, 3)}),
        ("conv2", "1.5x", {"conv2": (9, 4, 3, 3), "act": (9,), "fc1": (8, 36)}),
        ("fc1", "3x", {"fc1": (24, 24), "norm": (24,), "fc2": (5, 24)}),
    ],
)
def test_a_network_of_functions(
    site: str, width: int | str, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    torch.manual_seed(0)  # dropout may leave a row without a gradient
    net = shaken(Head())
    with left_alone(net):
        result = widen(net, site, width, example_inputs=X, seed=5)
    assert gap(net, result.model, X) < 1e-6
    assert result.parity.sites[0].max_rel < 1e-6
    assert {name: tuple(getattr(result.model, name).weight.shape) for name in shapes} == shapes
    assert [place.name for place in result.sites] == list(shapes)
    assert str(result.model.conv1).startswith("Conv2d(3, ")
    replays(result.model, Head(), tmp_path, X)
    again = widen(net, site, width, example_inputs=X, seed=5).model.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in result.model.state_dict().items())
    result.model(X).square().mean().backward()
    for name in (site, list(shapes)[-1]):
        assert bool((result.model.get_submodule(name).weight.grad.flatten(1).abs().amax(1) > 0).all())


def test_batch_norms_are_exact_in_train_mode_too(tmp_path: Path) -> None:
    net = resnet()
    result = widen(net, "layer*.conv1", "2x", example_inputs=X)
    assert [place.name.rpartition(".")[2] for place in result.sites] == ["conv1", "bn1", "act1", "conv2"] * 3
    assert gap(net, result.model, X) < 1e-6
    assert gap(net, result.model, X, train=True) < 1e-6
    assert result.model.layer2[0].bn1.running_var.shape == (16,)
    assert int(result.model.layer2[0].bn1.num_batches_tracked) == 3
    replays(result.model, resnet(), tmp_path, X)


def test_torchvision(tmp_path: Path) -> None:
    net, x = shaken(torchvision.models.resnet18(num_classes=4)).eval(), torch.randn(1, 3, 32, 32)
    result = widen(net, "layer1.0.conv1", "1.25x", example_inputs=x)
    assert gap(net, result.model, x) < 1e-6
    assert [place.name for place in result.sites] == ["layer1.0.conv1", "layer1.0.bn1", "layer1.0.conv2"]
    replays(result.model, torchvision.models.resnet18(num_classes=4), tmp_path, x)
    with pytest.raises(SiteError, match="it is read twice, by 'layer1.1.conv1' and by add_"):
        widen(net, "layer1.0.conv2", example_inputs=x)
    mobile = shaken(torchvision.models.mobilenet_v2(num_classes=4, width_mult=0.25)).eval()
    result = widen(mobile, "features.3.conv.0.0", "1.5x", example_inputs=x)
    assert gap(mobile, result.model, x) < 1e-6
    assert [place.name for place in result.sites] == [
        f"features.3.conv.{name}" for name in ("0.0", "0.1", "1.0", "1.1", "2")
    ]
    depthwise = result.model.features[3].conv[1][0]
    assert depthwise.groups == depthwise.in_channels == depthwise.out_channels == result.sites[0].after.spec.c_out


def vgg() -> nn.Module:
    layers: list[nn.Module] = []
    for c_in, c_out in ((3, 4), (4, 6)):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((2, 1)))
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, 5))
    return nn.Sequential(features, classifier)


def test_a_classifier_behind_convolutions(tmp_path: Path) -> None:
    net = shaken(vgg())
    result = widen(net, "0.4", 11, example_inputs=X)  # the second convolution, read through flattening
    assert result.model[1][1].weight.shape == (8, 22)
    assert gap(net, result.model, X) < 1e-6
    result = widen(result.model, "1.1", example_inputs=X)
    assert result.model[1][1].weight.shape == (16, 22)
    assert gap(net, result.model, X) < 1e-6
    assert len(result.history) == 2
    replays(result.model, vgg(), tmp_path, X)


class Grouped(nn.Module):
    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(12, 12, 3, groups=first, bias=False)
        self.conv2 = nn.Conv2d(12, 12, 3, groups=second)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x).sigmoid())


@pytest.mark.parametrize(("first", "second", "width"), [(2, 1, 14), (1, 3, 15), (2, 3, 24), (12, 4, 24)])
def test_groups(first: int, second: int, width: int) -> None:
    net, x = shaken(Grouped(first, second)), torch.randn(2, 12, 7, 7)
    result = widen(net, "conv1", width, example_inputs=x)
    assert gap(net, result.model, x) < 1e-6
    assert (result.model.conv1.groups, result.model.conv2.groups) == (first, second)
    with pytest.raises(SiteError, match="lies between grouped convolutions.*give a multiple of"):
        widen(net, "conv1", width + 1, example_inputs=x)


class Parts(nn.Module):
    """A network whose forward is given, so that each way to lose the track is one line."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 1) for _ in range(3))
        self.fc = nn.Linear(4, 4)
        self.norm = nn.GroupNorm(2, 4)
        self.layer = nn.LayerNorm(4)
        self.ways = WAYS

    def forward(self, x: Tensor) -> Tensor:
        return self.ways[self.way](self, x)


def _in_place(net: Parts, x: Tensor) -> Tensor:
    y = net.a(x)
    y[:, 0] = 0
    return net.b(y)


def _by_value(net: Parts, x: Tensor) -> Tensor:
    y = net.a(x)
    return net.b(y) if float(x.sum()) > 1e9 or y.shape[1] > 0 else net.c(y)


def _residual(net: Parts, x: Tensor) -> Tensor:
    y = net.a(x)
    return net.b(y) + y


def _product(net: Parts, x: Tensor) -> Tensor:
    y, z = net.a(x), net.a(x.flip(-1))
    return net.b(y * z)


def _raises(net: Parts, x: Tensor) -> Tensor:
    if net.training:
        raise ValueError("no targets")
    return net.b(net.a(x))


def _flat(net: Parts, x: Tensor) -> Tensor:
    y = F.adaptive_avg_pool2d(net.a(x), (1, 1)).permute(0, 2, 3, 1)
    return net.fc(y.reshape(len(x), -1))


WAYS = {
    "residual": _residual,
    "softmax": lambda net, x: net.b(net.a(x).softmax(1)),
    "group norm": lambda net, x: net.b(net.norm(net.a(x))),
    "chunk": lambda net, x: net.b(torch.cat(net.a(x).chunk(2, 1), 1)),
    "twice": lambda net, x: net.c(net.b(net.a(net.a(x)))),
    "calls": lambda net, x: net.b(net.a(x)) + net.b(net.a(2 * x)),
    "two readers": lambda net, x: net.b(net.a(x)) + net.c(net.a(2 * x)),
    "elsewhere": lambda net, x: net.b(net.a(x)) + net.b(x),
    "returned": lambda net, x: net.a(x),
    "lost": lambda net, x: net.b(x) + net.a(x).detach().numpy().mean().item(),
    "not reached": lambda net, x: net.b(x),
    "view": lambda net, x: net.b(net.a(x).view(x.shape[0], 4, -1).unsqueeze(-1)),
    "bias": lambda net, x: net.b(net.a(x) + net.fc.weight[0].view(-1, 1, 1)),
    "spatial": lambda net, x: net.fc(net.a(x)),
    "layer norm": lambda net, x: net.b(net.layer(net.a(x))),
    "product": _product,
    "set": _in_place,
    "value": _by_value,
    "train": lambda net, x: net.c(net.a(x)) if net.training else net.b(net.a(x)),
    "raises in train": _raises,
    "permuted": lambda net, x: net.fc(net.a(x).permute(0, 2, 3, 1).relu()),
    "flattened last": _flat,
}

GRID = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("residual", "it is read twice, by 'b' and by add"),
        ("softmax", "softmax mixes channels"),
        ("group norm", "group_norm depends on there being 4 channels"),
        ("chunk", "chunk does not return one tensor"),
        ("twice", "the layer reads its own output"),
        ("two readers", "different layers read it in different calls.*b and c"),
        ("elsewhere", "'b' reads something else as well"),
        ("returned", "the network returns it"),
        ("lost", "no layer that netmorph can follow reads it"),
        ("not reached", "the example does not reach it"),
        ("view", "view mixes channels"),
        ("bias", "add depends on there being 4 channels"),
        ("spatial", "'fc' does not read its channels as channels"),
        ("layer norm", "'layer' does not read its channels as channels"),
        ("product", "mul combines two of its outputs"),
        ("set", "__setitem__ does not return one tensor"),
        ("train", "different layers read it in different calls"),
    ],
)
def test_what_stands_in_the_way(way: str, message: str) -> None:
    net = Parts(way)
    with left_alone(net), pytest.raises(SiteError, match=message) as caught:
        widen(net, "a", 6, example_inputs=GRID, inplace=True)
    assert caught.value.site == "a"


@pytest.mark.parametrize("way", ["calls", "value", "raises in train", "permuted", "flattened last"])
def test_what_does_not(way: str) -> None:
    net = Parts(way)
    result = widen(net, "a", 6, example_inputs=GRID)
    assert gap(net.eval(), result.model, GRID) < 1e-6


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(y) + torch.tensor(y.tolist()).sum(1, keepdim=True)


def test_readers_out_of_sight_show_in_the_outputs() -> None:
    net = Hidden()
    with left_alone(net), pytest.raises(ParityError, match="the network's outputs differ, though the layers agree"):
        widen(net, "a", 6, example_inputs=GRID, inplace=True)


class Tied(Hidden):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(4, 4, 1)
        self.c.weight = self.b.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) + self.c(x)


def test_other_refusals() -> None:
    net = shaken(vgg())
    with pytest.raises(SiteError, match="the layer must become wider"):
        widen(net, "0.0", 4, example_inputs=X)
    with pytest.raises(SiteError, match="PyTorch's own convolutions and linear layers, and '' is a Identity"):
        widen(nn.Identity(), "", 4, example_inputs=X)
    odd = Head()
    with pytest.raises(
        SiteError, match="'norm' is a LayerNorm, which requires every channel to be copied equally often.*width=16"
    ):
        widen(odd, "fc1", 9, example_inputs=X)
    odd.fc2.register_forward_pre_hook(lambda *_: None)
    assert widen(odd, "fc1", "2x", example_inputs=X).model.fc2._forward_pre_hooks
    tied = Tied()
    with pytest.raises(SiteError, match="'b', which reads it, cannot be changed: its weight is tied to 'c.weight'"):
        widen(tied, "a", 9, example_inputs=GRID)
    bad = shaken(vgg())
    bad[0][1].weight.data[0] = torch.nan
    with pytest.raises(ParityError, match="NaN"):
        widen(bad, "0.0", 9, example_inputs=X)


class Holder(nn.Module):
    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body, self.other = body, nn.Sequential(nn.ReLU(), body[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def test_layers_of_other_libraries() -> None:
    std_conv = pytest.importorskip("timm.layers.std_conv")
    conv2d_same = pytest.importorskip("timm.layers.conv2d_same")
    for foreign in (std_conv.StdConv2d(4, 4, 3), conv2d_same.Conv2dSame(4, 4, 3, stride=2)):
        kind = f"{type(foreign).__module__}.{type(foreign).__name__}"
        for net in (nn.Sequential(foreign, nn.Conv2d(4, 4, 1)), nn.Sequential(nn.Conv2d(4, 4, 1), foreign)):
            with pytest.raises(SiteError, match=f"widen acts on PyTorch's own .*is a {kind}.*morph it first"):
                widen(net, "0", example_inputs=GRID)
        with pytest.raises(SiteError, match=f"grow_kernel acts on PyTorch's own .*is a {kind}.*morph it first"):
            grow_kernel(nn.Sequential(foreign), "0", 5, example_inputs=GRID)


def test_shared_norms() -> None:
    norm = nn.BatchNorm2d(4)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 4, 1), norm, nn.Conv2d(4, 4, 1))
    with pytest.raises(SiteError, match="'1' reads something else as well|'1', which follows it, is shared"):
        widen(net, "0", example_inputs=X)


def test_norms_that_other_parts_hold_too() -> None:
    first = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    whole = Holder(first)
    with pytest.raises(SiteError, match="which follows it, is shared.*as body.1 and other.1"):
        widen(whole, "body.0", example_inputs=X)


def test_a_single_value_in_train_mode() -> None:
    net = shaken(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)))
    result = widen(net, "0", example_inputs=torch.ones(1, 3))
    assert result.parity.sites[0].train is None
    assert result.parity.sites[0].exact


def test_infinite_outputs_are_no_proof() -> None:
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False), nn.Hardtanh())
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    with pytest.raises(ParityError, match="the present output is not finite.*site 0"):
        widen(net, "0", example_inputs=torch.full((2, 3), 3e38))


def test_a_size_that_flattening_fixes() -> None:
    net = shaken(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 9, 2)))
    parity = widen(net, "0", example_inputs=X).parity.sites[0]
    assert [each.input_shape for each in parity.measured] == [tuple(X.shape)] * 2
    assert [each.source for each in parity.measured] == ["recorded", "synthetic"]


def test_a_reader_that_was_morphed() -> None:
    net = morph(vgg(), {"0.4": "3x3 > 1x1"}, example_inputs=X).model
    with pytest.raises(SiteError, match="it enters the morphed module '0.4', whose source cannot be widened"):
        widen(net, "0.0", example_inputs=X)


def test_training_goes_on() -> None:
    """What survives keeps its momentum; loss goes on where it was, and down."""
    net = shaken(vgg()).train()
    net[1][3].p = 0.0
    target = torch.tensor([1, 3])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def step(model: nn.Module) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(X), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    for _ in range(3):
        step(net)
    momentum = optimizer.state[net[0][4].bias]["momentum_buffer"].clone()
    with torch.no_grad():
        before = float(F.cross_entropy(net(X), target))
    result = widen(net, "0.0", "2x", example_inputs=X, inplace=True)
    rebuilt = rebuild_optimizer(result, optimizer)
    assert "0.4.bias" in rebuilt.kept
    assert set(rebuilt.joined) == {"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias", "0.4.weight"}
    assert torch.equal(optimizer.state[net[0][4].bias]["momentum_buffer"], momentum)
    assert step(net) == pytest.approx(before, rel=1e-5)
    losses = [step(net) for _ in range(10)]
    assert losses[-1] < before
    weight = net[0][0].weight
    assert not any(torch.equal(weight[i], weight[i + 4]) for i in range(4))


def test_types_and_flags() -> None:
    net = vgg().double().to(memory_format=torch.channels_last)
    net[0][1].eval()
    net[0][1].weight.requires_grad_(False)
    net[0][4].weight.requires_grad_(False)
    result = widen(net, "0.0", 6, example_inputs=X.double(), inplace=True)
    assert result.model is net
    assert net[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(p.dtype == torch.float64 for p in net.parameters())
    wanted = {name: p.requires_grad for name, p in net.named_parameters()}
    assert [name for name, flag in wanted.items() if not flag] == ["0.1.weight", "0.4.weight"]
    assert (net[0][0].training, net[0][1].training) == (True, False)
    assert result.parity.sites[0].tolerance == 1e-10


def test_half_precision() -> None:
    net = shaken(vgg()).bfloat16()
    result = widen(net, "0.0", 7, example_inputs=X.bfloat16())
    assert result.parity.sites[0].exact


def test_failure_leaves_everything() -> None:
    net = shaken(vgg())
    before = state(net)
    with pytest.raises(NetmorphError, match="computes something else than before.*smaller noise"):
        widen(net, "0.0", example_inputs=X, inplace=True, noise=1e6)
    after = state(net)
    assert all(same(before[key], after[key]) for key in before)
    assert not widen(net, "0.0", example_inputs=X, noise=1e6, check=False).parity.sites[0].exact


def test_scripted_parts_are_out_of_sight() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1)))
    net = nn.Sequential(nn.Conv2d(3, 4, 1), scripted)
    with pytest.raises(SiteError, match="no layer that netmorph can follow reads it"):
        widen(net, "0", example_inputs=X)


def pool() -> nn.Module:
    return nn.AvgPool2d(2)


def up() -> nn.Module:
    return nn.Upsample(scale_factor=2)


@given(
    st.integers(1, 5),
    st.integers(1, 6),
    st.sampled_from(
        [nn.ReLU, nn.GELU, nn.Tanh, nn.Hardswish, lambda: nn.AvgPool2d(2), lambda: nn.Upsample(scale_factor=2)]
    ),
    st.integers(0, 9),
)
@settings(max_examples=15)
def test_any_chain(width: int, more: int, make: type[nn.Module], seed: int) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), make(), nn.PReLU(width), nn.Conv2d(width, 3, 3)
    )
    net = shaken(net, seed).double()
    result = widen(net, "0", width + more, example_inputs=X.double(), seed=seed)
    assert result.parity.sites[0].max_rel < 1e-12
    assert result.parity.max_rel < 1e-12
