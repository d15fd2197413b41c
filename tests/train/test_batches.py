import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netmorph.train.batches import EvalBatches, TrainBatches, crop_and_flip
from netmorph.train.data import Dataset, Split

CPU = torch.device("cpu")


def counted(n, test=5):
    """A data set whose image i is filled with the value i."""

    def split(count):
        return Split(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 4, 4), torch.arange(count))

    return Dataset("counted", split(n), split(test), n, torch.zeros(2), torch.full((2,), 1 / 255), flip=True)


@given(pad=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 99))
def test_each_image_is_some_shift_of_itself(pad, flip, seed):
    images = torch.randint(1, 255, (6, 2, 5, 7), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    out = crop_and_flip(images, torch.Generator().manual_seed(seed), pad, flip)
    assert out.shape == images.shape
    assert out.is_contiguous(memory_format=torch.channels_last)
    padded = torch.nn.functional.pad(images, (pad,) * 4)
    for image, wide in zip(out, padded, strict=True):
        windows = [wide[:, i : i + 5, j : j + 7] for i in range(2 * pad + 1) for j in range(2 * pad + 1)]
        windows += [window.flip(2) for window in windows] if flip else []
        assert any(image.equal(window) for window in windows)


def test_every_image_draws_its_own_shift_and_side():
    image = torch.arange(100, dtype=torch.uint8).view(1, 1, 10, 10).expand(64, -1, -1, -1)
    out = crop_and_flip(image, torch.Generator().manual_seed(0), pad=2, flip=True)
    assert len(out.flatten(1).unique(dim=0)) > 30


def test_an_epoch_visits_every_image_once_and_drops_the_rest():
    batches = TrainBatches(counted(10), batch_size=3, seed=0, device=CPU, pad=0)
    labels = torch.cat([y for _, y in batches])
    assert len(batches) == 3
    assert len(labels) == len(labels.unique()) == 9
    for images, target in batches:
        torch.testing.assert_close(images[:, 0, 0, 0], target.float())
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_order_depends_on_the_seed_and_the_epoch_only():
    def epochs(seed):
        batches = TrainBatches(counted(50), batch_size=10, seed=seed, device=CPU, pad=1)
        return [torch.cat([y for _, y in batches]).tolist() for _ in range(2)]

    state = torch.random.get_rng_state()
    first = epochs(3)
    assert first == epochs(3)
    assert first[0] != first[1]
    assert first != epochs(4)
    assert torch.random.get_rng_state().equal(state)


def test_a_split_smaller_than_a_batch_is_one_batch():
    batches = TrainBatches(counted(4), batch_size=64, seed=0, device=CPU, pad=0)
    assert [len(y) for _, y in batches] == [4]


@pytest.mark.parametrize("size", [2, 5, 9])
def test_evaluation_goes_through_the_split_in_order(size):
    data = counted(4)
    batches = EvalBatches(data, data.test, batch_size=size)
    assert torch.cat([y for _, y in batches]).tolist() == [0, 1, 2, 3, 4]
    assert len(list(batches)) == len(batches)
