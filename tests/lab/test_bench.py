from contextlib import contextmanager

import pytest

from netmorph.data.fashion import load_fashion
from netmorph.lab.bench import Bench
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.train.recipe import Recipe


class Silent:
    @contextmanager
    def training(self, name, epochs):
        yield None


@pytest.fixture(scope="module")
def bench():
    bench, model = Bench(load_fashion().first(100, 100), Silent()), CifarResNet(8, in_channels=1, width=2)
    bench.train("one", model, Recipe(epochs=2, batch_size=50), seed=0)
    bench.train("two", model, Recipe(epochs=1, batch_size=50), seed=1, after="one", extra=100.0)
    bench.train("three", CifarResNet(8, in_channels=1, width=2), Recipe(epochs=1, batch_size=50), 2, beside="one")
    return bench


def test_a_network_that_continues_another_counts_its_epochs_and_seconds(bench):
    one, two = bench.contenders["one"], bench.contenders["two"]
    assert (one.epochs, two.epochs) == (2, 3)
    assert two.seconds > one.seconds + 100
    assert [(row["network"], row["epoch"]) for row in bench.metrics] == [
        ("one", 1), ("one", 2), ("two", 3), ("three", 1)
    ]  # fmt: skip


def test_errors_curves_and_mistakes_agree(bench):
    for name, row in bench.contenders.items():
        assert row.error == pytest.approx(100 * bench.wrong[name].float().mean().item())
        assert bench.curves[name][-1][1] == pytest.approx(row.error)
        before = bench.contenders["one"].compute if name == "three" else 0
        assert bench.curves[name][-1][0] == before + row.compute
    assert len(bench.curves["one"]) == 2
    assert bench.curves["two"][0] == bench.curves["one"][-1]
    assert len(bench.curves["two"]) == 2


def test_compute_counts_all_training_images(bench):
    one, two, three = (bench.contenders[name] for name in ("one", "two", "three"))
    assert (one.compute, two.compute, three.compute) == (200 * one.macs, 300 * one.macs, 100 * three.macs)


def test_what_is_trained_beside_another_is_drawn_from_there_on(bench):
    ((compute, _),) = bench.curves["three"]
    assert compute == bench.contenders["one"].compute + bench.contenders["three"].compute
    assert bench.metrics[-1]["compute"] == compute


def test_costs_are_those_of_one_image(bench):
    assert bench.image.shape == (1, 1, 28, 28)
    # The stem alone: 28 x 28 outputs, 2 channels, 9 taps.
    assert bench.contenders["one"].macs > 28 * 28 * 2 * 9
