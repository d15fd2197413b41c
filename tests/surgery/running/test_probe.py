import pytest
import torch
from tests.surgery.networks import images, left_alone, small
from torch import nn

from netmorph.surgery.running import probe as module
from netmorph.surgery.running.call import Call
from netmorph.surgery.running.probe import Seen, probe, watched


def test_the_first_input_is_kept_on_request() -> None:
    model, x = small(), images()
    layers = {"stem": model.stem, "fc": model.fc}
    with left_alone(model):
        run = probe(model, layers, Call.of(x), keep=True)
    assert torch.equal(run.seen["stem"].recorded, x)
    assert run.seen["fc"].recorded.shape == (2, 8)
    assert probe(model, layers, Call.of(x)).seen["stem"].recorded is None
    assert run.outputs[""].shape == run.train[""].shape == (2, 5)


def test_the_record_is_what_the_layer_saw() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True))
    seen = probe(model, {"0": model[0]}, Call.of(images()), keep=True).seen["0"]
    assert seen.recorded.min() < 0
    assert (seen.calls, seen.input_shape, seen.output_shape) == (1, (2, 3, 16, 16), (2, 3, 16, 16))


@pytest.mark.parametrize(
    ("layer", "shape", "kept"),
    [
        (nn.Conv2d(2, 2, 1), (8, 2, 5, 5), 2),
        (nn.Conv2d(2, 2, 1), (1, 2, 50, 50), 1),
        (nn.Conv2d(2, 2, 1), (2, 50, 50), 2),
        (nn.Linear(50, 2), (8, 50), 2),
        (nn.Identity(), (8, 50), 2),
        (nn.Linear(200, 2), (200,), 200),
    ],
)
def test_large_inputs_are_kept_in_part(
    monkeypatch: pytest.MonkeyPatch, layer: nn.Module, shape: tuple[int, ...], kept: int
) -> None:
    """Fewer samples, never fewer channels or positions; an input without a batch stays whole."""
    monkeypatch.setattr(module, "_MOST_ELEMENTS", 100)
    seen = probe(layer, {"": layer}, Call.of(torch.zeros(shape)), keep=True).seen[""]
    assert seen.recorded.shape == (kept, *shape[1:])
    assert seen.input_shape == shape


def test_watching_ends_when_the_block_raises() -> None:
    layer = nn.Linear(2, 2)
    with left_alone(layer), pytest.raises(KeyError), watched({"": layer}, {"": Seen()}):
        raise KeyError


def test_reads_inside_the_own_forward_do_not_count() -> None:
    layer, seen = nn.Linear(2, 2), Seen()
    with watched({"": layer}, {"": seen}):
        layer(torch.zeros(1, 2))
        assert not seen.read
        assert layer.bias is not None
    assert seen.read == {"bias"}
