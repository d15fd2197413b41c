import subprocess
import sys

import pytest
import torch
from torch import nn

from netmorph.data.fashion import load_fashion
from netmorph.errors import NetmorphError
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.train.loop import Paused, fit
from netmorph.train.machine import Machine, overruns
from netmorph.train.objective import Compiler, Objective
from netmorph.train.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=50, lr=0.1)


@pytest.fixture(scope="module")
def small():
    return load_fashion().first(150, 70)


def model(seed=0):
    return CifarResNet(8, in_channels=1, width=4, stem_stride=2, seed=seed)


def trained(small, **machine):
    net = model()
    return net, fit(net, small, RECIPE, 0, machine=Machine(accelerator="cpu", **machine))


@pytest.fixture(scope="module")
def plain(small):
    return trained(small)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"precision": "8-bit"}, "precision= is not '8-bit'. Remedy: use one of '32-true', 'bf16-mixed', '16-mixed'"),
        ({"compile": "fast"}, "compile= is not 'fast'.*one of None, 'default', 'reduce-overhead'"),
        ({"strategy": "fsdp"}, "strategy= is not 'fsdp'"),
        ({"devices": 0}, "at least 1, got 0"),
        ({"devices": "auto"}, "at least 1, got 'auto'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_senseless_machines_are_refused(wrong, said):
    with pytest.raises(NetmorphError, match=said):
        Machine(**wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_one_message(small):
    with pytest.raises(NetmorphError, match="cannot use this machine.*accelerator='cpu'"):
        fit(model(), small, RECIPE, 0, machine=Machine(accelerator="cuda"))


def test_mixed_precision_computes_in_bfloat16_and_keeps_weights_in_float32(small, plain):
    seen = []

    class Spy(CifarResNet):
        def forward(self, images):
            logits = super().forward(images)
            seen.append(logits.dtype)
            return logits

    net = Spy(8, in_channels=1, width=4, stem_stride=2, seed=0)
    rows = fit(net, small, RECIPE, 0, machine=Machine(accelerator="cpu", precision="bf16-mixed"))
    assert set(seen) == {torch.bfloat16}
    assert len(seen) == 2 * (3 + 1)  # evaluation, too
    assert {value.dtype for value in net.parameters()} == {torch.float32}
    assert rows[-1].train_loss == pytest.approx(plain[1][-1].train_loss, rel=0.05)
    assert rows[-1].train_loss != plain[1][-1].train_loss


def test_lightning_does_not_chat(small, capfd):
    import lightning.pytorch  # noqa: F401 - through whose logger Fabric then speaks

    capfd.readouterr()
    trained(small, precision="bf16-mixed")
    assert capfd.readouterr() == ("", "")


def test_the_switches_of_cuda_are_set_within_and_put_back():
    def switches():
        cudnn = torch.backends.cudnn
        return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark

    before = switches()
    with Machine(tf32=False, benchmark=True).arithmetic(torch.device("cuda")):
        assert switches() == ("highest", False, True)
    assert switches() == before
    with Machine(tf32=True, benchmark=False).arithmetic(torch.device("cuda")):
        assert switches() == ("high", True, False)
    assert switches() == before
    with Machine(tf32=True).arithmetic(torch.device("cpu")):
        assert switches() == before


def test_half_precision_on_the_cpu_becomes_bfloat16_with_a_warning(small):
    with pytest.warns(UserWarning, match="bf16-mixed"):
        net, rows = trained(small, precision="16-mixed")
    assert rows[-1].train_loss < rows[0].train_loss
    assert all(value.isfinite().all() for value in net.state_dict().values())


def test_scaled_gradients_train_alike_and_the_scale_is_resumed(small, plain, monkeypatch, tmp_path):
    from lightning.fabric import Fabric
    from lightning.fabric.plugins import MixedPrecision

    def fabric(self):  # Lightning allows half precision on the CPU only so
        return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))

    monkeypatch.setattr(Machine, "fabric", fabric)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=4)  # overflows at first: steps are skipped
    folder = tmp_path / "run"
    with pytest.raises(Paused):
        fit(model(), small, RECIPE, 0, machine=Machine(precision="16-mixed"), folder=folder, stop=lambda: True)
    scale = scaler.get_scale()
    assert scale < 2.0**30
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0, growth_interval=4)
    net = model()
    rows = fit(net, small, RECIPE, 0, machine=Machine(precision="16-mixed"), folder=folder)
    assert scaler.get_scale() > scale / 2**4
    assert all(value.isfinite().all() for value in net.state_dict().values())
    assert rows[0].train_loss == pytest.approx(plain[1][0].train_loss, rel=0.2)


def test_the_memory_format_is_as_asked_and_the_result_alike(small):
    losses = []
    for channels_last in (True, False):
        net = CifarResNet(8, in_channels=1, width=16, stem_stride=2, seed=0)
        machine = Machine(accelerator="cpu", channels_last=channels_last)
        losses.append(fit(net, small, RECIPE, 0, machine=machine)[0].train_loss)
        assert net.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


NARROW = """
import torch
from torch import nn
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.data.dataset import Dataset, Split
from netmorph.train.loop import fit
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe

images = torch.zeros(64, 3, 96, 96, dtype=torch.uint8).random_(generator=torch.Generator().manual_seed(0))
split = Split(images, torch.arange(64) % 10)
net = CifarResNet(8, width=8).to(memory_format=torch.channels_last)
fit(net, Dataset.of("noise", split, split, 10), Recipe(epochs=1, batch_size=16), 0, machine=Machine("cpu"))
"""


def test_a_narrow_network_does_not_crash_the_process():
    # oneDNN writes outside its buffer there, in channels-last memory; so the process is another one.
    subprocess.run([sys.executable, "-c", NARROW], check=True, timeout=300)


@pytest.mark.parametrize(
    ("conv", "narrow"),
    [
        (nn.Conv2d(8, 4, 1, stride=2), True),
        (nn.Conv2d(32, 4, 1, stride=(1, 2), groups=4), True),
        (nn.Conv2d(16, 4, 1, stride=2), False),
        (nn.Conv2d(8, 4, 1), False),
        (nn.Conv2d(8, 4, 3, stride=2), False),
    ],
)
def test_networks_that_would_crash_on_a_cpu_take_plain_memory_there(conv, narrow):
    net = nn.Sequential(nn.Conv2d(3, conv.in_channels, 3), conv).to(memory_format=torch.channels_last)
    assert overruns(net, torch.device("cpu")) == narrow
    assert not overruns(net, torch.device("cuda"))
    Machine().place(net, torch.device("cpu"))
    strides = (27, 9, 3, 1) if narrow else (27, 1, 9, 3)
    assert net[0].weight.stride() == strides
    images = torch.zeros(2, 1, 4, 4).to(memory_format=torch.channels_last)
    seen = []
    Objective(lambda given: seen.append(given) or given.flatten(1), plain=narrow)(images, torch.tensor([0, 1]))
    assert seen[0].stride() == ((16, 16, 4, 1) if narrow else images.stride())


def test_without_a_compiler_a_warning_tells_and_the_training_is_the_plain_one(small, plain, monkeypatch):
    asked = []

    def broken(objective, **options):
        asked.append(options)

        def raises(*_):
            raise RuntimeError("\nno C compiler found\nand so on")

        return raises

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(RuntimeWarning) as warned:
        net, rows = trained(small, compile="reduce-overhead")
    assert [str(each.message) for each in warned] == [
        "compile='reduce-overhead' is not usable here, so training continues without it: "
        "RuntimeError: no C compiler found"
    ]
    assert asked == [{"options": {"layout_optimization": False}, "dynamic": False}]  # a narrow network
    Compiler("reduce-overhead", torch.device("cpu")).compiled(net)
    assert asked[1:] == [{"mode": "reduce-overhead", "dynamic": False}]
    assert [row.test_loss for row in rows] == [row.test_loss for row in plain[1]]
    for name, value in net.state_dict().items():
        assert value.equal(plain[0].state_dict()[name]), name


def test_what_is_compiled_is_the_network_with_its_loss_and_no_name_changes(small, plain, monkeypatch):
    calls = []

    def recording(objective, **_):
        def call(images, labels):
            calls.append((objective.training, len(labels)))
            return objective(images, labels)

        return call

    monkeypatch.setattr(torch, "compile", recording)
    net, rows = trained(small, compile="default")
    assert calls == [*[(True, 50)] * 3, (False, 70)] * 2
    assert net.state_dict().keys() == model().state_dict().keys()
    assert [row.test_loss for row in rows] == [row.test_loss for row in plain[1]]


@pytest.mark.slow
def test_the_compiler_changes_rounding_only_and_compiles_each_shape_once(small, plain):
    import torch._dynamo.utils as dynamo

    dynamo.counters.clear()
    net, rows = trained(small, compile="default")
    assert dynamo.counters["stats"]["unique_graphs"] == 2  # to learn and to measure
    assert not dynamo.counters["graph_break"]
    assert rows[0].train_loss == pytest.approx(plain[1][0].train_loss, rel=1e-3)
    assert isinstance(net.fc, nn.Linear)
