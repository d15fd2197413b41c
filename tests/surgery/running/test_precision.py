import operator
from collections.abc import Callable, Iterator

import pytest
import torch
from tests.surgery.networks import images, small
from torch import backends

from netmorph.surgery.running.precision import _NEW, full_precision
from netmorph.surgery.sites.find import find_sites


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    matmul, cudnn = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
    kept = [operation.fp32_precision for operation in _NEW]
    yield
    for whole in (backends, backends.cudnn) if _NEW else ():
        whole.fp32_precision = "none"
    torch.set_float32_matmul_precision(matmul)
    backends.cudnn.allow_tf32 = cudnn
    for operation, precision in zip(_NEW, kept, strict=True):
        operation.fp32_precision = precision


def settings() -> list[object]:
    return [torch.get_float32_matmul_precision(), *(operation.fp32_precision for operation in _NEW)]


def readings() -> list[object]:
    """Return what both interfaces say, an error included."""
    wholes = (backends, backends.cudnn, backends.mkldnn, *_NEW)
    asked = [torch.get_float32_matmul_precision, lambda: backends.cudnn.allow_tf32]
    asked += [lambda: backends.cuda.matmul.allow_tf32, lambda: [each.fp32_precision for each in wholes]]
    return [_answer(each) for each in asked]


def _answer(asked: Callable[[], object]) -> object:
    try:
        return asked()
    except RuntimeError:
        return "contradiction"


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


NEW_SETTINGS = ["", "cudnn", "cuda.matmul", "cudnn.conv", "mkldnn.matmul"]


@pytest.mark.skipif(not _NEW, reason="this PyTorch has the old interface alone")
@pytest.mark.parametrize("old", ["highest", "high"])
@pytest.mark.parametrize("precision", ["ieee", "tf32", "bf16"])
@pytest.mark.parametrize("place", NEW_SETTINGS)
def test_callers_of_the_new_interface_find_what_they_set(place: str, precision: str, old: str) -> None:
    if precision == "bf16" and place != "mkldnn.matmul":
        pytest.skip("PyTorch takes bfloat16 for the CPU only")
    torch.set_float32_matmul_precision(old)
    whole = operator.attrgetter(place)(backends) if place else backends
    whole.fp32_precision = precision
    before = readings()
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    with full_precision():
        assert all(operation.fp32_precision == "ieee" for operation in _NEW)
        assert not backends.cudnn.allow_tf32
        assert not backends.cuda.matmul.allow_tf32
        assert (x @ x - (x.double() @ x.double()).float()).abs().max() < 1e-4
    assert readings() == before


@pytest.mark.skipif(not _NEW, reason="this PyTorch has the old interface alone")
def test_sites_are_found_under_the_new_interface() -> None:
    backends.fp32_precision = "tf32"
    assert find_sites(small(), images())["stem"].kind == "conv"


def test_what_counts_is_computed_in_float32() -> None:
    torch.set_float32_matmul_precision("medium")
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    with full_precision():
        gap = (x @ x - (x.double() @ x.double()).float()).abs().max()
    assert gap < 1e-4
