"""CUDA graphs without a compiler: the same training; where there is no GPU, a warning and the same training."""

import copy

import pytest
import torch

from netmorph.data.fashion import load_fashion
from netmorph.errors import NetmorphError
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.train.loop import fit
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe
from netmorph.train.replay import Replayed


@pytest.fixture(scope="module")
def small():
    return load_fashion().first(330, 70)


def model():
    return CifarResNet(8, in_channels=1, width=4, stem_stride=2, seed=0)


def test_without_a_gpu_the_training_goes_on_as_it_is(small):
    recipe = Recipe(epochs=1, batch_size=50)
    plain, warned = model(), model()
    rows = fit(plain, small, recipe, 0, machine=Machine(accelerator="cpu"))
    with pytest.warns(RuntimeWarning, match="compile='cuda-graphs' is not usable here.*need a CUDA device, not cpu"):
        other = fit(warned, small, recipe, 0, machine=Machine(accelerator="cpu", compile="cuda-graphs"))
    assert [row.train_loss for row in rows] == [row.train_loss for row in other]
    for one, two in zip(plain.state_dict().values(), warned.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_several_processes_are_refused():
    with pytest.raises(NetmorphError, match="for one process, not 2"):
        Machine(devices=2, compile="cuda-graphs")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_replayed_training_is_the_eager_one(small, precision):
    recipe = Recipe(epochs=2, batch_size=50, lr=0.02, warmup=0.0)
    rows, nets = [], []
    for compile in (None, "cuda-graphs"):
        nets.append(model())
        machine = Machine(accelerator="cuda", precision=precision, compile=compile, tf32=False, benchmark=False)
        rows.append(fit(nets[-1], small, recipe, 0, machine=machine))
    for eager, replayed in zip(*rows, strict=True):
        assert replayed.train_loss == pytest.approx(eager.train_loss, rel=2e-2)
        assert replayed.test_loss == pytest.approx(eager.test_loss, rel=5e-2)
    for (name, one), two in zip(nets[0].state_dict().items(), nets[1].state_dict().values(), strict=True):
        if name.endswith("num_batches_tracked"):
            assert torch.equal(one, two)  # the warm-up left no trace
        else:
            assert float((one - two).norm() / one.norm().clamp_min(1e-3)) < 0.2, name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_one_call_gives_the_eager_loss_and_gradients():
    class Loss(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, images, labels):
            logits = self.net(images)
            return torch.nn.functional.cross_entropy(logits, labels), (logits.argmax(1) != labels).sum()

    random = torch.Generator().manual_seed(0)
    first, second = (
        (torch.randn(8, 1, 28, 28, generator=random).cuda(), torch.randint(10, (8,), generator=random).cuda())
        for _ in range(2)
    )
    eager = Loss(model().cuda().train())
    graphed = copy.deepcopy(eager)
    call = Replayed(graphed)
    for batch in (first, second, first):
        for net, run in ((eager, eager), (graphed, call)):
            net.zero_grad()
            loss, wrong = run(*batch)
            loss.backward()
            net.result = float(loss), int(wrong)
        assert graphed.result[0] == pytest.approx(eager.result[0], rel=1e-4)
        assert graphed.result[1] == eager.result[1]
        for one, two in zip(eager.parameters(), graphed.parameters(), strict=True):
            assert torch.allclose(one.grad, two.grad, rtol=1e-2, atol=1e-4)
    for one, two in zip(eager.buffers(), graphed.buffers(), strict=True):
        assert torch.allclose(one.float(), two.float(), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        eager.eval(), graphed.eval()
        assert float(call(*second)[0]) == pytest.approx(float(eager(*second)[0]), rel=1e-4)
        half = [each[:4] for each in first]  # another shape: another graph
        assert float(call(*half)[0]) == pytest.approx(float(eager(*half)[0]), rel=1e-4)
