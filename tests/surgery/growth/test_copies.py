import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netmorph.errors import SiteError
from netmorph.surgery.growth.copies import copy_map, shares, wider


@pytest.mark.parametrize(("width", "number"), [(9, 9), ("9", 9), ("2x", 16), ("1.3x", 10), (" 1.5x ", 12)])
def test_widths(width: int | str, number: int) -> None:
    assert wider(width, 8, what="it") == number


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (8, "must become wider.*8 channels now, 8 requested"),
        ("0.5x", "8 channels now, 4 requested"),
        ("many", "'many' is not a valid width"),
        (True, "True is not a valid width"),
        (-3, "-3 is not a valid width"),
        ("infx", "not a valid width"),
        ("nanx", "not a valid width"),
        ("1e9x", "cannot have that many channels.*1,048,576 channels at most"),
        (10**30, "cannot have that many channels"),
        (10, "grouped convolutions.*in 4 groups.*multiple of 4, such as 12"),
    ],
)
def test_no_widths(width: int | str, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        wider(width, 8, blocks=4, what="it")


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 12), st.integers(0, 5))
def test_copies_are_even_and_stay_in_their_block(small: int, blocks: int, more: int, seed: int) -> None:
    large = small + more
    index = copy_map(small * blocks, large * blocks, blocks=blocks, seed=seed)
    assert torch.equal(index, copy_map(small * blocks, large * blocks, blocks=blocks, seed=seed))
    for block in range(blocks):
        own = index[block * large : (block + 1) * large] - block * small
        assert own[:small].tolist() == list(range(small))
        counts = torch.bincount(own, minlength=small)
        assert len(counts) == small
        assert counts.max() - counts.min() <= 1


@given(st.integers(1, 5), st.integers(1, 9), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_shares_add_up(columns: int, more: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(columns)
    weight = torch.randn(3, columns, 2, generator=random).to(dtype)
    index = copy_map(columns, columns + more, blocks=1, seed=1)
    wide = shares(weight, index, noise=0.1, seed=2)
    assert wide.dtype == dtype
    total = torch.zeros(3, columns, 2, dtype=torch.float64).index_add_(1, index, wide.double())
    assert float((total - weight.double()).abs().max()) <= len(index) * torch.finfo(dtype).eps * float(
        weight.abs().max()
    )
    for column in range(columns):  # no two copies are alike
        own = wide[:, index == column].double()
        assert all(not torch.equal(own[:, i], own[:, j]) for i in range(own.shape[1]) for j in range(i))


def test_shares_of_what_is_alone_are_itself() -> None:
    weight = torch.randn(4, 3)
    index = torch.tensor([0, 1, 2, 1])
    wide = shares(weight, index, noise=0.5, seed=0)
    assert torch.equal(wide[:, [0, 2]], weight[:, [0, 2]])
    assert not torch.equal(wide[:, 1], weight[:, 1])


def test_zeros_are_shared_with_noise_too() -> None:
    wide = shares(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]), noise=0.1, seed=0)
    assert bool((wide != 0).all())
    assert torch.equal(wide[:, :2], -wide[:, 2:])


def test_large_weights_are_shared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, index = torch.randn(7, 3, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    monkeypatch.setattr("netmorph.surgery.growth.copies._CHUNK", 9)
    wide = shares(weight, index, noise=0.1, seed=0)
    total = torch.zeros_like(weight).index_add_(1, index, wide)
    assert torch.allclose(total, weight, rtol=0, atol=1e-14)
