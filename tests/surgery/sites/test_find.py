import warnings

import pytest
import torch
import torchvision
from tests.surgery.networks import Block, Small, images, left_alone, scripted, small
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from netmorph.errors import SiteError
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.running.wrappers import check_unwrapped, wrapper_of
from netmorph.surgery.sites.find import find_sites
from netmorph.surgery.sites.layers import candidates


def why(model: nn.Module, x: object, name: str) -> str:
    """Return why a place is refused."""
    sites = find_sites(model, x)
    assert name not in sites.names
    return sites.refused[name]


def test_sites_of_a_residual_network() -> None:
    sites = find_sites(small(), images())
    assert sites.names[:4] == ("stem", "blocks.0.conv1", "blocks.0.conv2", "blocks.0.shortcut")
    assert not sites.refused
    stem, shortcut, fc = sites["stem"], sites["blocks.1.shortcut"], sites["fc"]
    assert (stem.kind, stem.spec.stride, stem.spec.padding, stem.bias) == ("conv", (2, 2), ((1, 1), (1, 1)), True)
    assert (stem.input_shape, stem.output_shape, stem.positions) == ((2, 3, 16, 16), (2, 8, 8, 8), 128)
    assert (shortcut.kind, shortcut.spec.c_in, shortcut.spec.kernel, shortcut.bias) == ("identity", 8, (1, 1), False)
    assert (fc.kind, fc.spec.dims, fc.positions, fc.dtype) == ("linear", 0, 2, torch.float32)
    assert "blocks.0.conv1: conv 8->8 kernel 3x3 padding 1x1, (2, 8, 8, 8)" in str(sites[1])
    assert len(sites[1:3]) == 2


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(training: bool) -> None:
    model = small().train(training)
    model.blocks[0].bn1.eval()
    model(images()).sum().backward()
    model.fc.weight.requires_grad_(False)
    model.blocks[0].conv1.register_forward_hook(lambda *_: None)
    with left_alone(model):
        find_sites(model, images())


def test_looking_changes_nothing_when_the_model_raises() -> None:
    model = small()
    with left_alone(model), pytest.raises(SiteError, match="the model raised on example_inputs"):
        find_sites(model, images()[:, :2])


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    ("padding", "pads"),
    [("same", ((3, 3), (1, 2))), ("valid", ((0, 0), (0, 0))), ((2, 1), ((2, 2), (1, 1)))],
)
def test_padding_is_read(padding: object, pads: object) -> None:
    layer = nn.Conv2d(2, 3, (3, 4), padding=padding, dilation=(3, 1))
    (site,) = find_sites(layer, torch.zeros(1, 2, 9, 9))
    assert (site.name, site.spec.padding, site.spec.dilation) == ("", pads, (3, 1))
    assert str(site).startswith("(the model itself): conv")


@pytest.mark.parametrize(
    ("layer", "shape", "dims"),
    [
        (nn.Conv1d(2, 2, 3), (1, 2, 9), 1),
        (nn.Conv2d(2, 2, 3), (2, 9, 9), 2),
        (nn.Conv3d(2, 2, 3), (1, 2, 5, 5, 5), 3),
        (nn.Linear(2, 2), (4, 3, 2), 0),
    ],
)
def test_every_rank_is_a_site(layer: nn.Module, shape: tuple[int, ...], dims: int) -> None:
    (site,) = find_sites(nn.Sequential(layer), torch.zeros(shape))
    assert (site.name, site.spec.dims, site.input_shape) == ("0", dims, shape)


class Subclass(nn.Conv2d):
    """Adds nothing of its own to the forward."""


class Scaled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_subclass_that_computes_the_same_is_a_site() -> None:
    assert find_sites(Subclass(2, 2, 1), torch.zeros(1, 2, 3, 3)).names == ("",)


def weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nn.utils.weight_norm(layer)


def replaced(layer: nn.Module) -> nn.Module:
    layer.forward = lambda x: x
    return layer


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Scaled(2, 2, 1), "Scaled, a subclass of Conv2d with a forward of its own"),
        (nn.ConvTranspose2d(2, 2, 1), "transposed convolution"),
        (nn.LazyConv2d(2, 1), "lazily initialised"),
        (parametrizations.weight_norm(nn.Conv2d(2, 2, 1)), "parametrized"),
        (weight_norm(nn.Conv2d(2, 2, 1)), "weight_norm"),
        (prune.identity(nn.Conv2d(2, 2, 1), "weight"), "pruned"),
        (replaced(nn.Conv2d(2, 2, 1)), "forward was replaced on the instance"),
    ],
    ids=["subclass", "transposed", "lazy", "parametrized", "old weight_norm", "pruned", "instance"],
)
def test_refused_by_structure(layer: nn.Module, reason: str) -> None:
    model = nn.Sequential(layer)
    with left_alone(model) if not isinstance(layer, nn.LazyConv2d) else torch.no_grad():
        assert reason in why(model, torch.zeros(1, 2, 4, 4), "0")
    if isinstance(layer, nn.LazyConv2d):
        assert layer.has_uninitialized_params()


def test_sparse_parameters_are_tied_where_they_are_one_object() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Identity(), nn.Identity())
    for identity in model[1:]:
        identity.weight = nn.Parameter(torch.eye(2).to_sparse())
    assert list(candidates(model)[0]) == ["0", "1", "2"]


class ConvLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_a_layer_of_unknown_kind_is_told() -> None:
    assert f"does not know what a {__name__}.ConvLike computes" in why(
        nn.Sequential(ConvLike()), torch.zeros(1, 2), "0"
    )


def test_other_numbers_than_floats_are_refused() -> None:
    layer = nn.Linear(2, 2, dtype=torch.complex64)
    assert "its weight is complex64" in why(layer, torch.zeros(1, 2, dtype=torch.complex64), "")
    assert "carries int64" in why(nn.Sequential(nn.Identity()), torch.zeros(1, 2, dtype=torch.long), "0")


def test_tensor_subclasses_are_refused() -> None:
    class Fancy(Tensor):
        pass

    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(torch.zeros(2, 2).as_subclass(Fancy))
    assert "its weight is a Fancy" in why(layer, torch.zeros(1, 2), "")


def test_quantised_layers_are_refused() -> None:
    class Quantised(nn.Linear):
        pass

    Quantised.__module__ = "torch.ao.nn.qat.modules.linear"
    assert "morph before quantisation" in why(Quantised(2, 2), torch.zeros(1, 2), "")


def test_shared_modules_and_tied_parameters_are_refused() -> None:
    conv = nn.Conv2d(2, 2, 1)
    assert "also registered as '1'" in why(nn.Sequential(conv, conv), torch.zeros(1, 2, 3, 3), "0")
    tied = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4, bias=False))
    tied[1].weight = tied[0].weight
    assert why(tied, torch.zeros(1, 2, dtype=torch.long), "1") == "its weight is tied to '0.weight'"
    view = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    view[1].weight.data = view[0].weight.data
    assert "its weight is tied to '1.weight'" in why(view, torch.zeros(1, 2), "0")


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.id = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.id(self.conv(self.conv(x)))


def test_a_layer_that_is_called_twice_is_a_site() -> None:
    sites = find_sites(Twice(), torch.zeros(1, 2, 3, 4))
    assert (sites["conv"].calls, sites["conv"].positions, sites["id"].calls) == (2, 24, 1)


@pytest.mark.parametrize("grad", [True, False])
def test_weights_that_are_read_in_one_mode_only_are_found(grad: bool) -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with torch.set_grad_enabled(grad):
        sites = find_sites(encoder, torch.zeros(2, 3, 8))
    assert not len(sites)
    assert sites.refused["self_attn.out_proj"].endswith("(MultiheadAttention), which never calls it")
    assert "read by its parent (TransformerEncoderLayer)" in sites.refused["linear1"]


class Reader(nn.Module):
    """Reads its layer's weight in train mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.aux = nn.Linear(2, 2)
        self.gate = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x.to(self.fc.weight.dtype) if self.training else x)
        return y + self.gate(self.aux(x)) if self.training else y


def test_the_train_mode_is_probed_too() -> None:
    sites = find_sites(Reader().eval(), torch.zeros(4, 2))
    assert "and a morphed module has none" in sites.refused["fc"]
    assert sites["aux"].input_shape == (4, 2)
    assert sites["gate"].kind == "identity"


class TrainRaises(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise ValueError("targets are missing")
        return super().forward(x)


def test_a_model_that_raises_in_train_mode_is_probed_in_eval_mode() -> None:
    assert find_sites(TrainRaises(nn.Linear(2, 2)), torch.zeros(1, 2)).names == ("0",)


class Unreached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.id = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_what_the_example_does_not_reach() -> None:
    sites = find_sites(Unreached(), torch.zeros(1, 2, 3, 3))
    assert (sites["conv"].reached, sites["conv"].positions) == (False, 0)
    assert "not reached by the example" in str(sites["conv"])
    assert "its channels are unknown" in sites.refused["id"]


class Odd(nn.Module):
    """Calls its layers in ways that no module could answer."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs, self.scalar, self.varying, self.deep = (nn.Identity() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        self.pairs((x, x))
        self.scalar(x.sum())
        self.varying(x)
        self.varying(x[:, :1])
        self.deep(x.reshape(*x.shape, 1, 1))
        return x


def test_identities_that_carry_no_channels_are_refused() -> None:
    refused = find_sites(Odd(), torch.zeros(1, 2, 3, 4)).refused
    assert "single tensor" in refused["pairs"]
    assert "no channel dimension" in refused["scalar"]
    assert "vary" in refused["varying"]
    assert "no channel dimension" in refused["deep"]


@pytest.mark.parametrize(
    ("sibling", "shape", "channels", "dims"),
    [
        (nn.Conv1d(6, 6, 1), (2, 6, 5), 6, 1),
        (nn.Linear(5, 5), (2, 6, 5), 5, 0),
        (nn.Linear(5, 5), (2, 6, 4, 5), 5, 0),
        (nn.Conv2d(6, 5, 1), (2, 6, 4, 5), 6, 2),
        (nn.ReLU(), (2, 6, 4, 5), 6, 2),
        (nn.ReLU(), (2, 6), 6, 0),
        (nn.Linear(3, 3), (2, 3, 4, 5, 3), 3, 0),
        (nn.Linear(3, 3), (2, 7, 4, 5, 6), 7, 3),
    ],
)
def test_the_surroundings_tell_where_the_channels_are(
    sibling: nn.Module, shape: tuple[int, ...], channels: int, dims: int
) -> None:
    class Slot(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.id = nn.Identity()
            self.sibling = sibling

        def forward(self, x: Tensor) -> Tensor:
            return self.id(x)

    site = find_sites(nn.Sequential(Slot()), torch.zeros(shape))["0.id"]
    assert (site.spec.c_in, site.spec.dims) == (channels, dims)


def test_wrapped_models() -> None:
    compiled = torch.compile(nn.Sequential(nn.Linear(2, 2)), backend="aot_eager")
    in_place = nn.Linear(2, 2)
    in_place.compile(backend="aot_eager")
    script = scripted(nn.Sequential(nn.Linear(2, 2)))
    for model, name in ((compiled, "torch.compile"), (in_place, "torch.compile"), (script, "TorchScript")):
        assert wrapper_of(model) == name
        with pytest.raises(SiteError, match=f"already wrapped .{name}.: morph before wrapping"):
            check_unwrapped(model)
        assert not len(find_sites(model, torch.zeros(1, 2)))
    assert "inside torch.compile: morph before wrapping" in why(compiled, torch.zeros(1, 2), "_orig_mod.0")
    assert "morph before scripting" in why(script, torch.zeros(1, 2), "0")
    part = nn.Sequential(compiled, nn.Linear(2, 2))
    part[0].forward = part[0]._orig_mod.forward  # a wrapper inside does not spoil what is beside it
    assert find_sites(part, torch.zeros(1, 2)).names == ("1",)


def test_the_way_out_of_a_wrapper_is_said() -> None:
    """What is wrapped anew is the child: the old wrapper's hooks are on parameters that are gone."""
    compiled = torch.compile(nn.Sequential(nn.Linear(2, 2)), backend="aot_eager")
    with pytest.raises(SiteError, match="the model inside .compiled._orig_mod., then wrap or compile the child again"):
        check_unwrapped(compiled)
    assert morph(compiled._orig_mod, {"0": "1 > 1"}, example_inputs=torch.zeros(1, 2)).parity.exact
    with pytest.raises(SiteError, match="morph the model inside .parallel.module., then wrap"):
        check_unwrapped(nn.DataParallel(nn.Linear(2, 2)))
    with pytest.raises(SiteError, match="as it was before that, with these weights loaded, then wrap"):
        check_unwrapped(scripted(nn.Sequential(nn.Linear(2, 2))))
    in_place = nn.Sequential(nn.Linear(2, 2))
    in_place.compile(backend="aot_eager")
    for inplace in (False, True):
        with pytest.raises(SiteError, match=r"undo its compile\(\) with model._compiled_call_impl = None, then morph"):
            morph(in_place, {"0": "1 > 1"}, example_inputs=torch.zeros(1, 2), inplace=inplace)
    in_place._compiled_call_impl = None
    child = morph(in_place, {"0": "1 > 1"}, example_inputs=torch.zeros(1, 2), inplace=True).model
    expected = child(torch.ones(1, 2))
    child.compile(backend="aot_eager")
    assert torch.allclose(child(torch.ones(1, 2)), expected)


def test_distributed_models() -> None:
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        from torch.distributed.fsdp import fully_shard

        wrapped = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(2, 2)))
        expected = "it is inside DDP: morph before wrapping, then wrap the child again"
        assert why(wrapped, torch.zeros(1, 2), "module.0") == expected
        with pytest.raises(SiteError, match="the model inside .ddp.module, .*, then wrap or compile the child again"):
            check_unwrapped(wrapped)
        sharded = nn.Sequential(nn.Linear(2, 2))
        fully_shard(sharded, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
        assert wrapper_of(sharded) == "FSDP"
        with pytest.raises(SiteError, match="as it was before that, with these weights loaded, then wrap"):
            check_unwrapped(sharded)
        assert "0" in find_sites(sharded, torch.zeros(1, 2)).refused
    finally:
        torch.distributed.destroy_process_group()


SITES = find_sites(Small(), images())


def test_patterns_cross_dots_and_exclude() -> None:
    assert SITES.select("*conv1").expect(2).names == ("blocks.0.conv1", "blocks.1.conv1")
    assert SITES.select("blocks.*", exclude="*.shortcut").expect(4)
    assert SITES.select("fc", "blocks.1.*", exclude=["*conv?"]).names == ("blocks.1.shortcut", "fc")
    assert SITES.select("*").expect(8).names == SITES.names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("blocks.0.convl", "did you mean .*'blocks.0.conv1'"),
        ("nothing*", "the network's sites are 'stem', 'blocks.0.conv1'"),
        ("blocks.0", r"a module of type Block is not a site itself.*'blocks.0.conv1'.*write 'blocks.0.\*'"),
        ("blocks.0.bn1", "of type BatchNorm2d"),
        ("BLOCKS.0.conv1", "no site matches"),
    ],
)
def test_a_pattern_that_matches_nothing(pattern: str, message: str) -> None:
    with pytest.raises(SiteError, match="no site matches"):
        SITES["*conv1"]  # an index is a name
    for attempt in (SITES.select, SITES.__getitem__, lambda p: SITES.select("*", exclude=p)):
        with pytest.raises(SiteError, match=message):
            attempt(pattern)


def test_a_wrong_count_lists_what_was_found() -> None:
    with pytest.raises(SiteError, match="expected 3 sites, found 2.*'blocks.0.conv1'"):
        SITES.select("*conv1").expect(3)


def test_refused_places() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1))
    sites = find_sites(model, torch.zeros(1, 2, 3, 3))
    with pytest.raises(SiteError, match=r"cannot be morphed: it is a transposed.*\[site 1\]"):
        sites.select("1")
    with pytest.raises(SiteError, match="every layer that '.12.' matches is refused"):
        sites.select("[12]")
    chosen = sites.select("*")
    assert (chosen.names, list(chosen.refused)) == (("0",), ["1", "2"])
    assert list(sites.select("*", exclude="2").refused) == ["1"]
    with pytest.raises(SiteError, match="refused: '1', '2'"):
        chosen.expect(3)
    assert repr(chosen) == "Sites('0', 2 refused)"
    with pytest.raises(SiteError, match="transposed"):
        sites["1"]


def test_a_network_without_sites() -> None:
    with pytest.raises(SiteError, match="the network has no sites"):
        find_sites(nn.ReLU(), torch.zeros(1)).select("*")


def test_sites_of_torchvisions_resnet18() -> None:
    model = torchvision.models.resnet18()
    sites = find_sites(model, torch.zeros(1, 3, 32, 32))
    sites.select("*", exclude="layer*.downsample").expect(21)
    sites.select("layer*.downsample").expect(5)
    assert not sites.refused
    assert len(sites.select("layer*.conv1")) == 8


def test_a_block_alone() -> None:
    assert find_sites(Block(4), torch.zeros(1, 4, 5, 5)).names == ("conv1", "conv2", "shortcut")
