from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netmorph.data import batches as module
from netmorph.data.batches import epoch_generator
from netmorph.data.dataset import Dataset, Split
from netmorph.errors import NetmorphError


def counted(n, test=5):
    """A data set whose image i is filled with the value i."""

    def split(count):
        return Split(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 4, 4), torch.arange(count))

    return Dataset("counted", split(n), split(test), n, torch.zeros(2), torch.full((2,), 1 / 255), flip=True)


def noise(n, size=6):
    """A data set of random images, each its own class."""
    images = torch.randint(1, 256, (n, 2, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    split = Split(images, torch.arange(n))
    return Dataset("noise", split, split, n, torch.zeros(2), torch.full((2,), 1 / 255))


def labels_of(batches):
    return [y.tolist() for _, y in batches]


def flat(batches):
    return list(chain.from_iterable(labels_of(batches)))


def test_every_image_draws_its_own_shift_and_side():
    images = torch.arange(100, dtype=torch.uint8).view(1, 1, 10, 10).expand(64, -1, -1, -1)
    split = Split(images, torch.zeros(64, dtype=torch.int64))
    data = Dataset("same", split, split, 1, torch.zeros(1), torch.full((1,), 1 / 255))
    ((plain, _),) = data.train_batches(64, 0, pad=0)
    assert len(plain.flatten(1).unique(dim=0)) == 2  # the image and its mirror
    ((shifted, _),) = data.train_batches(64, 0, pad=2)
    assert len(shifted.flatten(1).unique(dim=0)) > 30


def test_an_epoch_visits_every_image_once_and_drops_the_rest():
    batches = counted(10).train_batches(3, seed=0, pad=0)
    labels = flat(batches)
    assert len(batches) == 3
    assert len(labels) == len(set(labels)) == 9
    for images, target in batches:
        torch.testing.assert_close(images[:, 0, 0, 0], target.float())
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_every_image_takes_part_in_some_epoch():
    batches = counted(10).train_batches(3, seed=0, pad=0)
    assert {y for _ in range(10) for y in flat(batches)} == set(range(10))


def test_chunks_do_not_show(monkeypatch):
    whole = list(noise(50).train_batches(4, seed=1, pad=1))
    monkeypatch.setattr(module, "_CPU_CHUNK_BYTES", 10_000)  # an image takes 288: 34 of them, in batches of 4
    parts = list(noise(50).train_batches(4, seed=1, pad=1))
    assert len(whole) == len(parts) == 12
    for (a, x), (b, y) in zip(whole, parts, strict=True):
        assert a.equal(b)
        assert x.equal(y)


def test_order_and_augmentation_depend_on_the_seed_and_the_epoch_only():
    def epochs(seed, first, count):
        batches = noise(50).train_batches(10, seed=seed, pad=1)
        batches.epoch = first
        return [[(x.sum((1, 2, 3)).tolist(), y.tolist()) for x, y in batches] for _ in range(count)]

    state = torch.random.get_rng_state()
    first = epochs(3, 0, 4)
    assert epochs(3, 2, 2) == first[2:]  # a run that is resumed needs only the epoch
    assert first[0] != first[1]
    assert epochs(4, 0, 1) != first[:1]
    assert torch.random.get_rng_state().equal(state)


def test_the_number_of_the_epoch_rises_as_it_is_begun():
    batches = counted(10).train_batches(5, seed=0, pad=0)
    assert batches.epoch == 0
    begun = iter(batches)
    assert batches.epoch == 1
    batches.epoch = 0
    assert labels_of(begun) == labels_of(batches)


def test_generators_tell_their_arguments_apart():
    draws = {tuple(torch.randint(2**40, (2,), generator=epoch_generator(*key)).tolist())
             for key in [(0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 0, 1), (-1, 0), (2**70, 0)]}  # fmt: skip
    assert len(draws) == 7


def test_a_split_smaller_than_a_batch_is_one_batch():
    assert [len(y) for y in labels_of(counted(4).train_batches(64, seed=0, pad=0))] == [4]


@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_all_ranks_are_the_batch_of_one(world):
    whole = list(noise(50).train_batches(12, seed=1, pad=2))
    shares = [list(noise(50).train_batches(12, seed=1, pad=2, rank=rank, world=world)) for rank in range(world)]
    for (images, labels), *parts in zip(whole, *shares, strict=True):
        by_label = {int(y): x for part in parts for x, y in zip(*part, strict=True)}
        assert sorted(by_label) == sorted(labels.tolist())
        assert all(len(part[1]) == 12 // world for part in parts)
        assert all(by_label[int(y)].equal(x) for x, y in zip(images, labels, strict=True))


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(NetmorphError, match="batches of 10 images .* 3 processes.*a batch size that is divisible by 3"):
        counted(50).train_batches(10, seed=0, pad=0, world=3)
    with pytest.raises(NetmorphError, match="no process 2 among 2"):
        counted(50).train_batches(10, seed=0, pad=0, rank=2, world=2)


@pytest.mark.parametrize("size", [2, 5, 9])
def test_evaluation_goes_through_the_split_in_order(size):
    batches = counted(4).test_batches(size)
    assert flat(batches) == [0, 1, 2, 3, 4]
    assert len(list(batches)) == len(batches)
    assert max(map(len, labels_of(batches))) <= size


@given(n=st.integers(1, 40), size=st.integers(1, 12), world=st.integers(1, 4))
def test_ranks_evaluate_each_image_once_in_as_many_batches(n, size, world):
    data = counted(4, test=n)
    if n < world:
        with pytest.raises(NetmorphError, match="cannot be shared"):
            data.test_batches(size, world=world)
        return
    ranks = [labels_of(data.test_batches(size, rank=rank, world=world)) for rank in range(world)]
    assert sorted(y for rank in ranks for batch in rank for y in batch) == list(range(n))
    assert len({len(rank) for rank in ranks}) == 1
    assert all(batch for rank in ranks for batch in rank)


def test_batches_are_normalised():
    data = noise(40)
    data = Dataset.of("noise", data.train, data.test, 40)
    images = torch.cat([x for x, _ in data.train_batches(40, 0, pad=0)])
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(2), atol=1e-5, rtol=0)
    assert torch.cat([x for x, _ in data.test_batches(7)])[:3].equal(data.example(3))


def test_more_views_than_one_are_refused():
    with pytest.raises(NetmorphError, match="noise is evaluated on one view of each image, got views=10"):
        noise(4).test_batches(views=10)


def test_epochs_draw_different_orders():
    batches = counted(30).train_batches(30, seed=0, pad=0)
    orders = [labels_of(batches)[0] for _ in range(5)]
    assert all(a != b for a, b in pairwise(orders))
