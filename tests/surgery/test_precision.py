from collections.abc import Iterator

import pytest
import torch
from torch import backends

from netmorph.surgery.precision import _NEW, full_precision


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    matmul, cudnn = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
    kept = [operation.fp32_precision for operation in _NEW]
    yield
    torch.set_float32_matmul_precision(matmul)
    backends.cudnn.allow_tf32 = cudnn
    for operation, precision in zip(_NEW, kept, strict=True):
        operation.fp32_precision = precision


def settings() -> list[object]:
    return [torch.get_float32_matmul_precision(), *(operation.fp32_precision for operation in _NEW)]


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("cudnn", [True, False])
def test_shortcuts_are_off_inside_and_back_outside(precision: str, cudnn: bool) -> None:
    torch.set_float32_matmul_precision(precision)
    backends.cudnn.allow_tf32 = cudnn
    before = settings()
    with full_precision():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not backends.cudnn.allow_tf32
        assert not backends.cuda.matmul.allow_tf32
    assert settings() == before
    assert backends.cudnn.allow_tf32 is cudnn
    assert backends.cuda.matmul.allow_tf32 is (precision != "highest")


@pytest.mark.skipif(not _NEW, reason="this PyTorch has the old interface alone")
def test_callers_who_mix_both_interfaces_get_their_mix_back() -> None:
    backends.cudnn.conv.fp32_precision, backends.cudnn.rnn.fp32_precision = "tf32", "ieee"
    before = settings()
    with full_precision():
        assert not backends.cuda.matmul.allow_tf32
        assert all(operation.fp32_precision == "ieee" for operation in _NEW)
    assert settings() == before


def test_what_counts_is_computed_in_float32() -> None:
    torch.set_float32_matmul_precision("medium")
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    with full_precision():
        gap = (x @ x - (x.double() @ x.double()).float()).abs().max()
    assert gap < 1e-4
