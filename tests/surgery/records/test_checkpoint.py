import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tests.surgery.networks import Small, images, left_alone, small, state
from torch import nn

from netmorph import json_fields as reading
from netmorph.errors import NetmorphError, SiteError
from netmorph.filters import ConvSpec
from netmorph.nn import MorphedModule
from netmorph.nn.norm import BlendedGroupNorm
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records import checkpoint
from netmorph.surgery.records.checkpoint import CONFIG, WEIGHTS, load, save
from netmorph.surgery.records.history import history_of
from netmorph.surgery.records.layer import Plain
from netmorph.surgery.records.replay import replayed
from netmorph.surgery.records.tensors import same_bits
from netmorph.surgery.records.weights_file import digest_of

MAPPING = {"*.conv1": "module_d", "blocks.0.shortcut": "morph_1c1", "fc": "1:2x > 1"}


def child(seed: int = 0, **options: Any) -> nn.Module:
    return morph(small(seed), MAPPING, example_inputs=images(), **options).model


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    """Assert that two networks are equal bit by bit, memory formats included."""
    left, right = one.state_dict(), other.state_dict()
    assert list(left) == list(right)
    for key, value in left.items():
        assert value.dtype is right[key].dtype, key
        assert value.stride() == right[key].stride(), key
        assert torch.equal(value, right[key]), key
    assert history_of(one) == history_of(other)
    assert str(one) == str(other)


@pytest.mark.parametrize("norm", [None, "calibrated", "group"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, norm: str | None, dtype: torch.dtype) -> None:
    parent = small().to(dtype)
    x = images(8, dtype=dtype)
    model = morph(parent, MAPPING, example_inputs=x, norm=norm, calibration=[x] if norm == "calibrated" else None).model
    model.train()(x)  # statistics and counters move on
    assert save(model, tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    parent = Small()
    again = load(tmp_path / "new" / "folder", parent)
    assert again is parent
    assert_equal(model, again)
    assert torch.equal(model.eval()(x), again.eval()(x))
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == [CONFIG, WEIGHTS]


def as_version_1(config: dict[str, Any]) -> None:
    config["version"] = 1
    del config["group_norms"]


def test_group_norms_keep_their_groups(tmp_path: Path) -> None:
    """Version 1 did not say them: there every number of groups is the largest that divides channels and 32."""
    model, x = child(norm="group").eval(), images()
    norms = [module for module in model.modules() if isinstance(module, BlendedGroupNorm)]
    assert {norm.num_groups for norm in norms} != {math.gcd(32, norm.num_channels) for norm in norms}
    for norm in norms:
        norm.num_groups = math.gcd(32, norm.num_channels)
        norm.slope.data.fill_(0.5)
    save(model, tmp_path)
    assert torch.equal(load(tmp_path, small()).eval()(x), model(x))
    edit(tmp_path, as_version_1)
    assert torch.equal(load(tmp_path, small()).eval()(x), model(x))


def test_nothing_is_solved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from netmorph.surgery.morphing import solve_site as graft

    save(child(), tmp_path)
    monkeypatch.setattr(graft, "born", None)
    assert isinstance(load(tmp_path, Small()).fc, MorphedModule)


def test_loading_draws_no_global_random_numbers(tmp_path: Path) -> None:
    save(child(), tmp_path)
    parent = small()
    rng = torch.get_rng_state()
    load(tmp_path, parent)
    assert torch.equal(rng, torch.get_rng_state())


def test_a_network_morphed_twice_and_a_bare_layer(tmp_path: Path) -> None:
    twice = morph(child(), {"fc.edges.s_a": "1 | 1 > 1"}, example_inputs=images()).model
    save(twice, tmp_path / "twice")
    assert_equal(twice, load(tmp_path / "twice", Small()))
    bare = morph(nn.Conv2d(3, 4, 3), {"": "3x3 > 1x1"}, example_inputs=images()).model
    save(bare, tmp_path / "bare")
    assert_equal(bare, load(tmp_path / "bare", nn.Conv2d(3, 4, 3)))
    plain = small()
    save(plain, tmp_path / "plain")
    assert_equal(plain, load(tmp_path / "plain", Small()))


def test_channels_last_is_kept(tmp_path: Path) -> None:
    model = child().to(memory_format=torch.channels_last)
    save(model, tmp_path)
    again = load(tmp_path, Small())
    assert_equal(model, again)
    assert not again.stem.weight.is_contiguous()


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


def test_tied_tensors_stay_tied(tmp_path: Path) -> None:
    model = morph(tied(), {"1": "1 > 1"}, example_inputs=torch.zeros(1, 4)).model
    save(model, tmp_path)
    again = load(tmp_path, tied())
    assert_equal(model, again)
    assert again[2].weight is again[0].weight


def test_buffers_that_are_not_part_of_the_state_stay(tmp_path: Path) -> None:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3))
        model.register_buffer("mask", torch.ones(3), persistent=False)
        return model

    model = morph(build(), {"0": "1 > 1"}, example_inputs=torch.zeros(1, 3)).model
    model.mask.zero_()
    save(model, tmp_path)
    again = load(tmp_path, build())
    assert_equal(model, again)
    assert again.mask.sum() == 3


def test_the_parent_is_built_by_name(tmp_path: Path) -> None:
    built = []

    def build(name: str, **args: Any) -> nn.Module:
        built.append((name, args))
        return Small(**args)

    model = morph(Small(classes=3), {"stem": "3x3 > 1x1"}, example_inputs=images()).model
    save(model, tmp_path, parent_name="small", parent_args={"classes": 3})
    again = load(tmp_path, build=build)
    assert built == 2 * [("small", {"classes": 3})]  # on no device first
    assert_equal(model, again)
    save(again, tmp_path / "second")  # what was loaded knows its parent
    assert_equal(model, load(tmp_path / "second", build=build))
    with pytest.raises(NetmorphError, match="the parent 'small' cannot be built here.*as into="):
        load(tmp_path)
    save(model, tmp_path / "third")
    with pytest.raises(NetmorphError, match="does not name a model from which to build its parent"):
        load(tmp_path / "third", build=build)


def test_loading_into_a_child_of_the_same_history(tmp_path: Path) -> None:
    model = child()
    save(model, tmp_path)
    other = child()
    with torch.no_grad():
        other.fc.bias.add_(1)
    module = other.fc
    assert load(tmp_path, other) is other
    assert other.fc is module
    assert_equal(model, other)


def test_saving_again_replaces_and_leaves_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    save(child(), folder)
    (folder / "metrics.csv").write_text("mine")
    second = child(seed=1)
    save(second, folder)
    assert_equal(second, load(folder, Small()))
    assert sorted(os.listdir(folder)) == [CONFIG, "metrics.csv", WEIGHTS]
    assert os.listdir(tmp_path) == ["run"]


def test_saving_the_same_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(child(), tmp_path / name)
    for file in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_both_files_have_the_same_rights(tmp_path: Path) -> None:
    save(small(), tmp_path / "a")
    assert (tmp_path / "a" / WEIGHTS).stat().st_mode == (tmp_path / "a" / CONFIG).stat().st_mode


@pytest.mark.parametrize("when", ["save_file", "_digest"])
def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    model = child()
    save(model, tmp_path / "old")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, when, fail)
        for name in ("old", "new"):
            with pytest.raises(KeyboardInterrupt):
                save(child(seed=1), tmp_path / name)
    assert_equal(model, load(tmp_path / "old", Small()))
    assert os.listdir(tmp_path) == ["old"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NetmorphError, match="cannot be written to .*choose a folder"):
            save(small(), folder)
    assert os.listdir(tmp_path) == ["file"]


def test_what_safetensors_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise checkpoint.SafetensorError("disk is full")

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    with pytest.raises(NetmorphError, match="cannot be written to .*disk is full"):
        save(small(), tmp_path / "new")
    assert not os.listdir(tmp_path)


def test_arguments_that_are_not_json(tmp_path: Path) -> None:
    with pytest.raises(NetmorphError, match="cannot be written as JSON"):
        save(small(), tmp_path, parent_name="small", parent_args={"norm": nn.ReLU})


def test_keys_that_are_numbers_are_read_as_text(tmp_path: Path) -> None:
    labels = {index: str(index) for index in range(11)}  # 10 comes after 9 as a number, before it as text
    save(small(), tmp_path, parent_name="small", parent_args={"id2label": labels})
    read = []
    load(tmp_path, build=lambda _, **args: read.append(args) or Small())
    assert read == 2 * [{"id2label": {str(index): name for index, name in labels.items()}}]


def test_children_made_with_numbers_of_numpy(tmp_path: Path) -> None:
    model = morph(small(), {"fc": "1 > 1"}, example_inputs=images(), seed=np.int64(3), noise=np.float32(0.5)).model
    model = widen(model, "blocks.0.conv1", np.int64(12), example_inputs=images(), seed=np.int64(1)).model
    save(model, tmp_path)
    assert_equal(model, load(tmp_path, Small()))


def test_a_second_name_among_the_arguments(tmp_path: Path) -> None:
    with pytest.raises(NetmorphError, match="hold 'name'.*parent_name= alone"):
        save(small(), tmp_path, parent_name="small", parent_args={"name": "x"})
    save(small(), tmp_path, parent_name="small", parent_args={})
    edit(tmp_path, lambda config: config["parent"].update(args={"name": "x"}))
    with pytest.raises(NetmorphError, match="second 'name'.*as into="):
        load(tmp_path, build=lambda name, **args: Small())


def test_dtypes_that_files_cannot_hold(tmp_path: Path) -> None:
    model = small()
    model.register_buffer("phase", torch.zeros(2, dtype=torch.complex128))
    with pytest.raises(NetmorphError, match="'phase' .*safetensors cannot hold.*complex128"):
        save(model, tmp_path)
    model.phase = model.phase.to(torch.complex64)
    save(model, tmp_path)


def test_lazy_layers_without_a_shape(tmp_path: Path) -> None:
    with pytest.raises(NetmorphError, match="'0.weight' .*no shape yet.*run the network once"):
        save(nn.Sequential(nn.LazyLinear(3)), tmp_path)


class Extra(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"a": 1}

    def set_extra_state(self, state: object) -> None:
        raise AssertionError(state)


@pytest.mark.parametrize("model", [Extra(2, 2), nn.Linear(2, 2).to("meta")], ids=["extra state", "meta"])
def test_states_that_cannot_be_saved(tmp_path: Path, model: nn.Module) -> None:
    with pytest.raises(NetmorphError, match="is not a plain tensor"):
        save(model, tmp_path)
    assert not os.listdir(tmp_path)


def test_wrapped_networks_and_foreign_modules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="already wrapped .torch.compile.: save"):
        save(torch.compile(small(), backend="aot_eager"), tmp_path)
    model = child()
    with pytest.raises(NetmorphError, match=r"in no record of its history.*\[site conv1\]"):
        save(model.blocks[0], tmp_path)
    model.fc = nn.Linear(8, 5)
    with pytest.raises(NetmorphError, match=r"in its history but no longer there.*\[site fc\]"):
        save(model, tmp_path)


def edit(folder: Path, change: Callable[[dict], object], *, sign: bool = True) -> None:
    path = folder / CONFIG
    config = json.loads(path.read_text())
    change(config)
    if sign:
        config["digest"] = checkpoint._digest({key: value for key, value in config.items() if key != "digest"})
    path.write_text(json.dumps(config))


def truncate(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / CONFIG).unlink(), "there is no checkpoint in"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "cannot be read: FileNotFoundError"),
    "truncated config": (lambda f: truncate(f / CONFIG, 0.5), "is not JSON"),
    "empty config": (lambda f: truncate(f / CONFIG, 0), "is not JSON"),
    "binary config": (lambda f: (f / CONFIG).write_bytes(b"\x80\x04\x95pickle"), "is not JSON"),
    "another config": (lambda f: (f / CONFIG).write_text("[1]"), "not the config of a netmorph checkpoint"),
    "deep config": (lambda f: (f / CONFIG).write_text("[" * 100_000), "is not JSON"),
    "version": (
        lambda f: edit(f, lambda c: c.update(version=9)),
        "has version 9, this version of netmorph reads 1 to 2",
    ),
    "edited": (lambda f: edit(f, lambda c: c.update(tied={}, parent=3), sign=False), "was edited or is damaged"),
    "unknown key": (lambda f: edit(f, lambda c: c.update(run="rm -rf")), "was edited or is damaged"),
    "truncated weights": (lambda f: truncate(f / WEIGHTS, 0.9), "cannot be read: SafetensorError.*truncated"),
    "flipped bit": (lambda f: flip(f / WEIGHTS), "truncated, edited or of another save"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_files(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    save(child(), tmp_path)
    damage(tmp_path)
    parent = small()
    with left_alone(parent), pytest.raises(NetmorphError, match=message):
        load(tmp_path, parent)


def rehash(folder: Path, data: bytes) -> None:
    (folder / WEIGHTS).write_bytes(data)
    edit(folder, lambda c: c.update(weights=digest_of(folder / WEIGHTS)))


def site(config: dict, index: int = 0) -> dict:
    return config["history"][0]["sites"][index]


FORGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle in disguise": (lambda f: rehash(f, b"\x80\x04\x95\x00\x00"), "cannot be read: SafetensorError"),
    "a huge header": (lambda f: rehash(f, b"\xff" * 8 + b"{}"), "cannot be read: SafetensorError"),
    "unknown operation": (lambda f: edit(f, lambda c: c["history"][0].update(operation="exec")), "operation 'exec'"),
    "history is no list": (lambda f: edit(f, lambda c: c.update(history={})), "malformed"),
    "parent is no table": (lambda f: edit(f, lambda c: c.update(parent=[])), "malformed"),
    "parent without arguments": (lambda f: edit(f, lambda c: c.update(parent={"name": "x"})), "malformed"),
    "tied to a number": (lambda f: edit(f, lambda c: c.update(tied={"a": 1})), "malformed"),
    "tied twice": (lambda f: edit(f, lambda c: c.update(tied={"stem.bias": "stem.weight"})), "ties tensors that"),
    "tied to nothing": (lambda f: edit(f, lambda c: c.update(tied={"x": "y"})), "ties tensors that"),
    "channels_last of numbers": (lambda f: edit(f, lambda c: c.update(channels_last=[1])), "malformed"),
    "no such layer": (lambda f: edit(f, lambda c: site(c).update(name="nowhere")), "no such layer.*site nowhere"),
    "another layer": (lambda f: edit(f, lambda c: site(c).update(name="stem")), "not the one that was morphed"),
    "a huge width": (lambda f: edit(f, lambda c: site(c)["layout"]["site"].update(c_in=1 << 40)), "."),
    "another graph": (lambda f: edit(f, lambda c: site(c)["layout"]["graph"]["edges"].pop()), "."),
    "left-over weights": (lambda f: edit(f, lambda c: c.update(history=[])), "the weights are not those"),
}


@pytest.mark.parametrize(("forge", "message"), FORGED.values(), ids=FORGED)
def test_forged_files(tmp_path: Path, forge: Callable[[Path], object], message: str) -> None:
    """Files whose checksums are right but whose content is not."""
    save(child(), tmp_path)
    forge(tmp_path)
    parent = small()
    with left_alone(parent), pytest.raises(NetmorphError, match=message):
        load(tmp_path, parent)


HUGE = 1 << 20  # the largest width that a record may name: 36 TiB of weights between two such blobs


def layer(c_out: int, kernel: int = 3) -> dict:
    """Return the description of `blocks.0.conv2`, or of a larger one."""
    return Plain("conv", ConvSpec.same(8, c_out, kernel), bias=True).to_dict()


def widen_blobs(config: dict, kernel: int = 3) -> dict:
    """Make two blobs of the first module huge."""
    graph = site(config)["layout"]["graph"]
    graph["widths"] = {"a": str(HUGE), "c": str(HUGE)}
    graph["edges"][2]["kernel"] = [kernel]
    return site(config)


def record(operation: str, **values: object) -> dict:
    values = {"name": "blocks.0.conv2", **values}
    return {"operation": operation, "sites": [values], "versions": {}} | (
        {"options": {}} if operation == "widen" else {}
    )


def there_and_back(config: dict) -> None:
    """Put in front of the history a huge module in place of conv2, and conv2 again in place of that."""
    huge = json.loads(json.dumps(config["history"][0]))
    huge["sites"] = huge["sites"][:1]
    widen_blobs({"history": [huge]}).update(name="blocks.0.conv2", bias=True)
    config["history"][:0] = [huge, record("collapse", before=None, after=layer(8))]


HOSTILE: dict[str, tuple[Callable[[dict], object], str]] = {
    "blobs": (widen_blobs, r"'blocks.0.conv1..*' does not fit this network .*1048576"),
    "no number": (lambda c: widen_blobs(c, HUGE), "PyTorch cannot create such a module.*site blocks.0.conv1"),
    "layer": (
        lambda c: c["history"].insert(0, record("widen", kind="layer", before=layer(8), after=layer(HUGE, 1023))),
        r"'blocks.0.conv2..*' does not fit",
    ),
    "channels": (
        lambda c: c["history"].insert(
            0, record("widen", name="blocks.0.bn2", kind="channels", type="BatchNorm2d", before=8, after=HUGE)
        ),
        r"'blocks.0.bn2..*' does not fit",
    ),
}


@pytest.mark.parametrize(("forge", "message"), HOSTILE.values(), ids=HOSTILE)
def test_sizes_that_the_file_does_not_hold_take_no_memory(
    tmp_path: Path, forge: Callable[[dict], object], message: str
) -> None:
    save(child(), tmp_path)
    edit(tmp_path, forge)
    parent = small()
    with left_alone(parent), pytest.raises(NetmorphError, match=message):
        load(tmp_path, parent)


def test_what_was_huge_only_in_between_takes_no_memory(tmp_path: Path) -> None:
    model = child()
    save(model, tmp_path)
    edit(tmp_path, there_and_back)
    again = load(tmp_path, small())
    assert str(again) == str(model)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_new_modules_go_where_the_layer_was() -> None:
    """Meta stands for another device than the CPU."""
    history = history_of(child())
    parent = small()
    parent.fc.to("meta")
    with replayed(parent, history, bare=True) as replay:
        replay.settle()
    found = {key: value.device.type for key, value in replay.model.named_parameters()}
    assert found == {key: "meta" if key.startswith("fc.") else "cpu" for key in found}


def test_networks_without_memory_are_refused(tmp_path: Path) -> None:
    save(child(), tmp_path / "a")
    parent = small()
    parent.fc.to("meta")
    with pytest.raises(NetmorphError, match="'fc.weight' .*is on the meta device.*on a real device"):
        load(tmp_path / "a", parent)
    save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "b")
    with pytest.raises(NetmorphError, match="'0.weight' .*has no shape yet.*run the network once"):
        load(tmp_path / "b", nn.Sequential(nn.LazyLinear(2)))


def test_tensors_tied_here_and_not_in_the_checkpoint(tmp_path: Path) -> None:
    model = morph(tied(), {"1": "1 > 1"}, example_inputs=torch.zeros(1, 4)).model
    model[2].weight = nn.Parameter(model[0].weight.detach() * 2)
    save(model, tmp_path)
    parent = tied()
    with left_alone(parent), pytest.raises(NetmorphError, match="'0.weight' and '2.weight' are one tensor.*untie"):
        load(tmp_path, parent)
    parent[2].weight = nn.Parameter(parent[0].weight.detach().clone())
    assert_equal(model, load(tmp_path, parent))
    model[2].weight = nn.Parameter(model[0].weight.detach().clone())  # equal numbers are no contradiction
    save(model, tmp_path)
    assert load(tmp_path, tied())[2].weight is not None


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("name", ["stem.weight", "fc.bias"])
def test_another_kind_of_numbers_is_refused(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    save(child().half(), tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / WEIGHTS)
    tensors[name] = tensors[name].to(dtype)
    rehash(tmp_path, safetensors.torch.save(tensors))
    parent = small()
    with left_alone(parent), pytest.raises(NetmorphError, match=f"'{name}' does not fit.*network .* float32"):
        load(tmp_path, parent)


def test_another_parent_is_refused_and_left_alone(tmp_path: Path) -> None:
    save(child(), tmp_path)
    for parent, message in (
        (Small(channels=4), "expected conv 8->8"),
        (nn.Sequential(nn.Linear(2, 2)), "the parent has no such layer"),
        (Small(classes=4), "not the one that was morphed"),
    ):
        before = state(parent)
        with pytest.raises(NetmorphError, match=message):
            load(tmp_path, parent)
        assert state(parent).keys() == before.keys()
    parent = Small()
    parent.stem = nn.Conv2d(3, 8, 5)
    with left_alone(parent), pytest.raises(NetmorphError, match="'stem.weight' does not fit.*checkpoint .8, 3, 3, 3."):
        load(tmp_path, parent)


def test_a_child_with_another_history_is_refused(tmp_path: Path) -> None:
    save(child(), tmp_path)
    other = morph(small(), {"fc": "1 > 1"}, example_inputs=images()).model
    with left_alone(other), pytest.raises(NetmorphError, match="not the one that was morphed.*site fc"):
        load(tmp_path, other)


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "LARGEST", 10)
    with pytest.raises(NetmorphError, match="description of the network is too large.*safetensors.torch.save_file"):
        save(small(), tmp_path / "large")
    monkeypatch.setattr(reading, "MOST_EDGES", 2)
    with pytest.raises(NetmorphError, match="history is too long .*7 edges in one module, 2 at most.*save_file"):
        save(child(), tmp_path / "long")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
def test_what_is_no_number_is_kept_bit_by_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    model = tied()
    model.register_buffer("odd", torch.tensor([float("nan"), -0.0, float("inf")]).to(dtype))
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
        model[1].bias[0] = float("inf")
    save(model, tmp_path)
    parent = tied()
    parent.register_buffer("odd", torch.zeros(3, dtype=dtype))
    again = load(tmp_path, parent)
    assert all(same_bits(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert again[0].weight is again[2].weight
    assert again[0].weight.isnan().sum() == 1


def test_two_tensors_with_a_nan_each_are_compared_by_bits(tmp_path: Path) -> None:
    model = tied()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
        model[2].weight = nn.Parameter(model[0].weight.detach().clone())
        save(model, tmp_path / "equal")
        model[2].weight[0, 1] = float("nan")
    assert load(tmp_path / "equal", tied())[2].weight.isnan().sum() == 1
    save(model, tmp_path / "different")
    with pytest.raises(NetmorphError, match="'0.weight' and '2.weight' are one tensor"):
        load(tmp_path / "different", tied())
