import copy

import pytest
import torch
from tests.surgery.networks import images, left_alone, small
from torch import Tensor, nn

from netmorph.errors import NetmorphError, SiteError
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.parity.network import verify
from netmorph.surgery.running.calibrate import calibrate


def child(norm: str | None = "neutral") -> nn.Module:
    return morph(small(), {"*.conv1": "3x3 > 1x1", "fc": "1 > 1"}, example_inputs=images(), norm=norm).model


def labels() -> Tensor:
    return torch.zeros(8, dtype=torch.long)


BATCH = images(8, seed=3)


@pytest.mark.parametrize(
    "batches",
    [BATCH, [BATCH], [(BATCH, labels())], [[BATCH, labels()]], [(BATCH,)], {"x": BATCH}, iter([BATCH])],
    ids=["tensor", "list", "pairs", "pairs as lists", "tuples", "dictionary", "iterator"],
)
def test_batches_come_in_many_forms(batches: object) -> None:
    model = child()
    assert calibrate(model, batches) is model
    norm = model.blocks[0].conv1.norms["s_a"]
    signal = model.blocks[0].conv1.edges["s_a"](model.eval().stem(BATCH))
    assert torch.allclose(norm.running_mean, signal.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, signal.var((0, 2, 3), correction=0), atol=1e-4)


def test_the_function_stays_and_train_mode_comes_close() -> None:
    model = child()
    signal = model.eval().stem(BATCH)
    module = model.blocks[0].conv1
    wanted = module(signal)
    assert (copy.deepcopy(module).train()(signal) - wanted).abs().max() > 0.1
    calibrate(model, [BATCH[:4], BATCH[4:]])
    assert torch.allclose(module(signal), wanted, atol=1e-5)
    assert torch.allclose(copy.deepcopy(module).train()(signal), wanted, atol=1e-4)
    assert verify(small(), model, BATCH).max_rel < 1e-5


def test_nothing_else_changes() -> None:
    model = child().train()
    model.blocks[1].eval()
    others = {key: value.clone() for key, value in model.state_dict().items() if ".norms." not in key}
    rng = torch.get_rng_state()
    calibrate(model, BATCH)
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in others.items())
    assert torch.equal(rng, torch.get_rng_state())
    assert (model.training, model.blocks[1].training) == (True, False)
    assert model.blocks[0].conv1.norms["s_a"].training
    assert not model.blocks[1].conv1.norms["s_a"].training


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], SiteError, "no calibration data reached"),
        ([BATCH, BATCH[:, :1]], SiteError, "the model raised on a calibration batch"),
        (3, NetmorphError, "expected batches for calibration, got int"),
        ([BATCH * float("nan")], SiteError, "not finite"),
    ],
)
def test_bad_batches_change_nothing(batches: object, error: type[Exception], message: str) -> None:
    model = child()
    with left_alone(model), pytest.raises(error, match=message):
        calibrate(model, batches)


def test_errors_name_the_site() -> None:
    with pytest.raises(SiteError, match="site (fc|blocks.0.conv1)"):
        calibrate(child(), [])


@pytest.mark.parametrize("model", [small(), child(None)], ids=["not morphed", "without norms"])
def test_nothing_to_calibrate(model: nn.Module) -> None:
    with pytest.raises(SiteError, match="no BatchNorm left"):
        calibrate(model, BATCH)


def test_what_has_learned_is_not_calibrated_again() -> None:
    model = child().train()
    model(images(4))
    with pytest.raises(SiteError, match="no BatchNorm left"):
        calibrate(model, BATCH)


def test_forwards_that_take_anything() -> None:
    class Open(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, *tensors: Tensor) -> Tensor:
            return self.fc(sum(tensors))

    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    model = morph(Open(), {"fc": "1 > 1"}, example_inputs=x, norm="neutral").model
    calibrate(model, [(x, x)])
    norm = model.fc.norms["s_a"]
    assert torch.allclose(norm.running_mean, model.fc.edges["s_a"](2 * x).mean(0), atol=1e-5)


def test_nested_modules_are_calibrated_in_one_pass() -> None:
    model = morph(child(), {"blocks.0.conv1.edges.s_a": "3x3 > 1x1"}, example_inputs=images(), norm="neutral").model
    calibrate(model, BATCH)
    inner = model.blocks[0].conv1.edges["s_a"].norms["s_a"]
    assert inner.running_mean.any()
    assert inner.training
    assert verify(small(), model, BATCH).max_rel < 1e-5
