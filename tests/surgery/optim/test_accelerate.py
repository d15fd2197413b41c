"""Optimizers, schedulers and models in the wrappers of accelerate, Hugging Face's Trainer and Lightning."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.surgery.networks import images
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from netmorph.errors import NetmorphError, SiteError
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.optim.rebuild_optimizer import check_optimizer, rebuild_optimizer

accelerate = pytest.importorskip("accelerate")
SITES = {"0": "3x3 > 1x1 | 1x1"}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    from accelerate.state import AcceleratorState, GradientState

    kept = dict(os.environ)
    yield
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    os.environ.clear()
    os.environ.update(kept)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))


def rate(step: int) -> float:
    return 0.5**step


def held(optimizer: Optimizer) -> set[int]:
    return {id(each) for group in optimizer.param_groups for each in group["params"]}


def step(model: nn.Module, optimizer: Any, scheduler: Any, backward: Any = Tensor.backward) -> None:
    backward(model(images()).square().mean())
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("given", ["wrapper", "inner", "both wrapped", "prepared"])
def test_an_optimizer_and_its_schedule_are_seen_through(given: str) -> None:
    accelerator = accelerate.Accelerator(cpu=True)
    plain = network()
    inner = torch.optim.AdamW(plain.parameters(), lr=0.1)
    if given == "prepared":  # all at once, the schedule built before
        model, optimizer, schedule = accelerator.prepare(plain, inner, LambdaLR(inner, rate))
    else:  # as Hugging Face's Trainer does
        model, optimizer = accelerator.prepare(plain, inner)
        schedule = LambdaLR(optimizer, rate)
        schedule = accelerator.prepare(schedule) if given == "both wrapped" else schedule
    step(model, optimizer, schedule, accelerator.backward)
    moments = inner.state[plain[2].weight]["exp_avg"].clone()
    check_optimizer(model, optimizer, [schedule])
    result = morph(model, SITES, example_inputs=images(), inplace=True)
    rebuilt = rebuild_optimizer(result, inner if given == "inner" else optimizer, schedule)
    assert rebuilt.new_groups == (1,)
    assert optimizer.optimizer is inner
    assert optimizer.param_groups is inner.param_groups
    assert optimizer.state is inner.state
    assert held(optimizer) == {id(each) for each in model.parameters()}
    assert torch.equal(inner.state[plain[2].weight]["exp_avg"], moments)
    before = [each.detach().clone() for each in model.parameters()]
    step(model, optimizer, schedule, accelerator.backward)
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert [group["lr"] for group in inner.param_groups] == [0.1 * 0.25] * 2
    assert schedule.get_last_lr() == [0.1 * 0.25] * 2


def test_a_schedule_on_the_wrapper_is_not_forgotten() -> None:
    model = network()
    optimizer = accelerate.Accelerator(cpu=True).prepare(torch.optim.AdamW(model.parameters()))
    schedule = LambdaLR(optimizer, rate)
    result = morph(model, SITES, example_inputs=images())
    with pytest.raises(NetmorphError, match="a learning-rate scheduler drives this optimizer"):
        rebuild_optimizer(result, optimizer)
    other = LambdaLR(torch.optim.AdamW(network().parameters()), rate)
    with pytest.raises(NetmorphError, match="holds a LambdaLR, which drives another optimizer"):
        rebuild_optimizer(result, optimizer, [other])
    rebuild_optimizer(result, optimizer, [schedule])


def test_gradients_are_accumulated_over_a_growth() -> None:
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = network()
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    schedule = accelerator.prepare(LambdaLR(optimizer, rate))
    for turn in range(6):
        if turn == 2:
            result = morph(model, SITES, example_inputs=images(), inplace=True)
            rebuild_optimizer(result, optimizer, schedule)
        before = [each.detach().clone() for each in model.parameters()]
        with accelerator.accumulate(model):
            step(model, optimizer, schedule, accelerator.backward)
        stayed = [torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
        assert stayed == [turn % 2 == 0] * len(stayed)


def test_a_scaler_goes_on_with_the_optimizer() -> None:
    """As accelerate wires it in float16 on a GPU: the scaler steps the inner optimizer."""
    from accelerate.optimizer import AcceleratedOptimizer

    accelerate.Accelerator(cpu=True)
    model = network()
    inner = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizer = AcceleratedOptimizer(inner, scaler=scaler)
    schedule = LambdaLR(optimizer, rate)
    step(model, optimizer, schedule, lambda loss: scaler.scale(loss).backward())
    result = morph(model, SITES, example_inputs=images(), inplace=True)
    rebuild_optimizer(result, optimizer, schedule)
    before = [each.detach().clone() for each in model.parameters()]
    step(model, optimizer, schedule, lambda loss: scaler.scale(loss).backward())
    assert optimizer.scaler is scaler
    assert not optimizer.step_was_skipped
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


@pytest.mark.skipif(
    os.environ.get("ONEDNN_MAX_CPU_ISA") != "AVX512_CORE_BF16" and torch.cpu._is_amx_tile_supported(),
    reason="oneDNN's bfloat16 convolutions fail on some virtual machines that announce AMX",
)
@pytest.mark.parametrize("inplace", [False, True])
def test_a_model_prepared_in_bfloat16_is_morphed(inplace: bool) -> None:
    """Its forward is replaced by one under autocast."""
    model = accelerate.Accelerator(cpu=True, mixed_precision="bf16").prepare(network())
    assert "forward" in vars(model)
    result = morph(model, {"2": "3x3 > 1x1"}, example_inputs=images(), inplace=inplace)
    assert (result.model is model) is inplace
    assert result.parity.tolerance == 4 * 2**-7
    assert result.parity.exact
    assert not any("differ" in notice for notice in result.notices)
    assert result.model(images()).dtype is torch.float32


def test_lightnings_wrapper_is_seen_through() -> None:
    optimizers = pytest.importorskip("lightning.pytorch.core.optimizer")
    model = network()
    inner = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    result = morph(model, SITES, example_inputs=images())
    rebuild_optimizer(result, optimizers.LightningOptimizer(inner), LambdaLR(inner, rate))
    assert held(inner) == {id(each) for each in result.model.parameters()}


def test_fabrics_wrappers_are_seen_through() -> None:
    fabric = pytest.importorskip("lightning.fabric").Fabric(accelerator="cpu", devices=1)
    plain = network()
    inner = torch.optim.SGD(plain.parameters(), 0.1, momentum=0.9)
    model, optimizer = fabric.setup(plain, inner)
    with pytest.raises(SiteError, match="already wrapped .Fabric.*morph the model inside .fabric_model.module."):
        morph(model, {"*": "3x3 > 1x1"}, example_inputs=images())
    schedule = LambdaLR(optimizer, rate)
    result = morph(model.module, SITES, example_inputs=images(), inplace=True)
    rebuild_optimizer(result, optimizer, schedule)
    before = [each.detach().clone() for each in plain.parameters()]
    step(model, optimizer, schedule, fabric.backward)
    assert not any(torch.equal(old, new) for old, new in zip(before, plain.parameters(), strict=True))
    assert [group["lr"] for group in inner.param_groups] == [0.05] * 2


def test_a_wrapper_with_a_state_of_its_own_is_not() -> None:
    class Ahead(torch.optim.SGD):
        """Keeps slow weights of its own."""

        def __init__(self, optimizer: Optimizer) -> None:
            super().__init__([each for group in optimizer.param_groups for each in group["params"]], 0.1)
            self.optimizer = optimizer

    model = network()
    optimizer = Ahead(torch.optim.SGD(model.parameters(), 0.1))
    for refused in (
        lambda: check_optimizer(model, optimizer),
        lambda: rebuild_optimizer(morph(model, SITES, example_inputs=images()), optimizer),
    ):
        with pytest.raises(NetmorphError, match="this Ahead wraps another optimizer"):
            refused()


def test_hugging_faces_trainer_grows_in_a_callback(tmp_path: Any) -> None:
    transformers = pytest.importorskip("transformers")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

        def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            logits = self.net(x)
            return (
                {"logits": logits}
                if labels is None
                else {
                    "loss": nn.functional.cross_entropy(logits, labels),
                    "logits": logits,
                }
            )

    class Growing(transformers.TrainerCallback):  # type: ignore[name-defined, misc]
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.epoch == 1:
                model, optimizer, schedule = kwargs["model"], kwargs["optimizer"], kwargs["lr_scheduler"]
                self.wrapper = type(optimizer).__name__
                check_optimizer(model, optimizer, schedule)
                self.result = morph(model, {"net.0": "1 > 1"}, example_inputs=torch.zeros(2, 6), inplace=True)
                rebuild_optimizer(self.result, optimizer, schedule)

    noise = torch.Generator().manual_seed(0)
    data = [{"x": torch.randn(6, generator=noise), "labels": index % 3} for index in range(12)]
    arguments = transformers.TrainingArguments(
        output_dir=tmp_path,
        num_train_epochs=3,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=0.05,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
    )
    model, growing = Model(), Growing()
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=data, callbacks=[growing])
    trainer.train()
    assert growing.wrapper == "AcceleratedOptimizer"
    assert growing.result.parity.exact
    assert held(trainer.optimizer) == {id(each) for each in model.parameters()}
    slopes = trainer.optimizer.param_groups[-1]["params"]
    assert not any(bool((each == 1).all()) for each in slopes)  # they have learned
    assert all(group["lr"] == 0 for group in trainer.optimizer.param_groups)  # at the end of its schedule
