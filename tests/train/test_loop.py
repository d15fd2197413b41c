import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from netmorph.data.fashion import load_fashion
from netmorph.errors import NetmorphError
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.train.loop import Before, fit, mistakes
from netmorph.train.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=50, lr=0.1)


class Heard:
    def __init__(self):
        self.batches, self.rows = [], []

    def batch(self, done, total):
        self.batches.append((done, total))

    def epoch(self, row):
        self.rows.append(row)


@pytest.fixture(scope="module")
def small():
    return load_fashion().first(300, 100)


def timeless(row):
    return replace(row, seconds=0, samples_per_second=0)


def model(seed=0):
    return CifarResNet(8, in_channels=1, width=4, stem_stride=2, seed=seed)


@pytest.fixture(scope="module")
def trained(small):
    heard, net = Heard(), model()
    rows = fit(net, small, RECIPE, seed=1, progress=heard)
    return net, rows, heard


def test_it_learns(trained):
    _, rows, _ = trained
    assert rows[1].train_loss < rows[0].train_loss
    assert rows[1].train_error < 80
    assert 0 < rows[0].seconds < rows[1].seconds


def test_progress_hears_every_batch_and_epoch(trained):
    _, rows, heard = trained
    assert heard.batches == [(done, 12) for done in range(1, 13)]
    assert heard.rows == rows
    assert [row.epoch for row in rows] == [1, 2]
    assert [row.steps for row in rows] == [6, 12]
    assert all(row.samples_per_second > 300 / row.seconds for row in rows[:1])  # which includes the evaluation


def test_the_last_row_is_what_evaluation_measures(trained, small):
    net, rows, _ = trained
    assert 100 * mistakes(net, small).float().mean().item() == pytest.approx(rows[-1].test_error)


def test_mistakes_are_marked_image_by_image(trained, small):
    net = trained[0]
    guesses = net(small.normalise(small.test.images)).argmax(1)
    assert mistakes(net, small).equal(guesses != small.test.labels)


def test_mistakes_leave_the_mode_of_each_module(small):
    net = model().train()
    net.bn1.eval()
    modes = [module.training for module in net.modules()]
    mistakes(net, small)
    assert [module.training for module in net.modules()] == modes


def test_a_frozen_network_is_told(small):
    with pytest.raises(NetmorphError, match="no parameter of the network requires a gradient.*requires_grad"):
        fit(model().requires_grad_(False), small, RECIPE, seed=1)


@pytest.mark.parametrize(("side", "at_most"), [(28, 500), (224, 99), (3_000, 3)])
def test_mistakes_average_the_views_in_batches_that_memory_holds(trained, side, at_most):
    images, labels = torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 0])

    class Views:
        def to(self, device):
            return self

        def example(self, n=1):
            return torch.zeros(n, 1, side, side)

        def test_batches(self, batch_size=500, views=1, **_):
            assert (batch_size, views) == (at_most, 3)
            return [(images, labels)]

    logits = trained[0](images)
    expected = torch.stack([logits[:3].mean(0), logits[3:].mean(0)]).argmax(1) != labels
    assert mistakes(trained[0], Views(), views=3).equal(expected)


def test_the_same_seed_gives_the_same_network(trained, small):
    net, rows, _ = trained
    torch.manual_seed(99)  # the global generator must not matter
    again = model()
    repeated = fit(again, small, RECIPE, seed=1)
    assert [timeless(row) for row in repeated] == [timeless(row) for row in rows]
    for name, value in again.state_dict().items():
        assert value.equal(net.state_dict()[name]), name


def test_what_the_network_draws_follows_from_the_seed_and_leaves_the_global_generator_alone(small):
    def dropping():
        net = model()
        net.fc = nn.Sequential(nn.Dropout(0.5), net.fc)
        return net

    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    rows = fit(dropping(), small, RECIPE, seed=1)
    assert torch.random.get_rng_state().equal(state)
    torch.manual_seed(2)
    assert [timeless(row) for row in fit(dropping(), small, RECIPE, seed=1)] == [timeless(row) for row in rows]


def test_epochs_draw_afresh(small):
    drawn = []

    class Drawing(nn.Module):
        def forward(self, logits):
            drawn.append(torch.rand(()).item())
            return logits

    net = model()
    net.fc = nn.Sequential(net.fc, Drawing())
    state = torch.random.get_rng_state()
    fit(net, small, RECIPE, seed=1)
    assert torch.random.get_rng_state().equal(state)
    assert drawn[6] == drawn[13]  # in evaluation
    training = [*drawn[:6], *drawn[7:13]]  # one evaluation after each epoch
    assert len(set(training)) == 12


def test_rows_count_on_from_what_went_before(trained, small):
    rows = fit(model(), small, RECIPE, seed=1, before=Before(epochs=5, steps=100))
    assert [(row.epoch, row.steps) for row in rows] == [(6, 106), (7, 112)]
    assert [row.test_loss for row in rows] == [row.test_loss for row in trained[1]]


def test_another_seed_gives_another_network(trained, small):
    other = model()
    fit(other, small, RECIPE, seed=2)
    assert not other.fc.weight.equal(trained[0].fc.weight)


def test_the_rate_of_the_first_row_is_that_of_its_last_step(trained):
    # 12 steps, one of warm-up: the sixth step is the sixth of the cosine's eleven.
    expected = 0.1 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 4 / 11)).item())
    assert trained[1][0].lr == pytest.approx(expected)


def test_the_mode_that_a_network_comes_in_does_not_matter(trained, small):
    evaluating = model().eval()
    fit(evaluating, small, RECIPE, seed=1)
    assert evaluating.fc.weight.equal(trained[0].fc.weight)
    assert evaluating.bn1.num_batches_tracked == 12


def test_divergence_is_one_message(small):
    net = model()
    with torch.no_grad():
        net.fc.weight[0, 0] = float("nan")
    with pytest.raises(NetmorphError, match="diverged in epoch 1.*lower the learning rate, 0.1"):
        fit(net, small, RECIPE, seed=0)


def test_a_test_loss_that_is_no_number_is_divergence_and_no_checkpoint_keeps_it(small, tmp_path):
    net = model()
    net.register_forward_hook(lambda module, given, out: out if module.training else out * float("nan"))
    with pytest.raises(NetmorphError, match="diverged in epoch 1: the test loss is nan"):
        fit(net, small, RECIPE, seed=0, folder=tmp_path)
    assert not list(tmp_path.glob("*.ckpt"))


def test_evaluation_leaves_the_mode_alone(small):
    net = model().train()
    mistakes(net, small)
    assert net.training


def test_an_interrupt_comes_out_as_one_and_the_next_one_is_heard(small):
    class Interrupting(Heard):
        def batch(self, done, total):
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(model(), small, RECIPE, seed=0, progress=Interrupting())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_in_the_model_is_not_swallowed(small):
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(3, 10)), small, RECIPE, seed=0)
