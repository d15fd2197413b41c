"""What else holds parameters of a network that grows in a Trainer: averages go along, the rest is refused."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    Callback,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from netmorph.errors import NetmorphError
from netmorph.nn import MorphedModule
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.optim.rebuild_ema import rebuild_ema
from netmorph.train.callback import GrowCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:lightning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:lightning"),
]
EXAMPLE = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(1))
MAPPING = {"0": "3x3 > 1x1 | 1x1"}


class Module(LightningModule):
    def __init__(self, rate=0.1, norm=False):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 3)
            )
            if norm:
                self.net.insert(1, nn.BatchNorm2d(6))
        self.rate = rate
        self.example_input_array = EXAMPLE
        self.losses = []

    def training_step(self, batch, index):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=self.rate, momentum=0.9)


class Watching(GrowCallback):
    """Notes what averages compute before the growth and after it."""

    def __init__(self, average, grow=MAPPING, **options):
        super().__init__(grow, **{"at_epoch": 2, "attribute": "net"} | options)
        self.average = average

    def on_train_epoch_start(self, trainer, pl_module):
        was = self.grown
        before = self._function(pl_module)
        super().on_train_epoch_start(trainer, pl_module)
        if self.grown and not was:
            self.before, self.after = before, self._function(pl_module)

    def _function(self, pl_module):
        network = self.average(pl_module)
        training = network.training
        with torch.no_grad():
            output = network.eval()(EXAMPLE)
        network.train(training)
        return output

    def assert_kept(self):
        torch.testing.assert_close(self.after, self.before, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def loader():
    draw = torch.Generator().manual_seed(2)
    images, labels = torch.randn(24, 2, 6, 6, generator=draw), torch.randint(3, (24,), generator=draw)
    return DataLoader(TensorDataset(images, labels), batch_size=8)


def trainer(*callbacks, epochs=5, logger=False, **options):
    saves = any(isinstance(each, ModelCheckpoint) for each in callbacks)
    quiet = {"logger": logger, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_checkpointing=saves,
        num_sanity_val_steps=0,
        **quiet,
        **options,
    )


def widened(net):
    return widen(net, "0", "2x", example_inputs=EXAMPLE, inplace=True)


AVERAGES = {
    "ema": lambda _=0: EMAWeightAveraging(decay=0.8),
    "mean": lambda _=0: WeightAveraging(),
    "parameters alone": lambda _=0: EMAWeightAveraging(decay=0.8, use_buffers=False),
    "from the growth's own epoch": lambda _=0: EMAWeightAveraging(
        decay=0.8, update_every_n_steps=0, update_starting_at_epoch=2
    ),
    "swa before": lambda rate=0.05: StochasticWeightAveraging(swa_lrs=rate, swa_epoch_start=1),
    "swa after": lambda rate=0.05: StochasticWeightAveraging(swa_lrs=rate, swa_epoch_start=4),
}


def network_of(callback):
    whole = callback._average_model
    return (whole.module if isinstance(whole, AveragedModel) else whole).net


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", AVERAGES)
def test_an_average_grows_along(kind, first, loader):
    average = AVERAGES[kind]()
    grow = Watching(lambda _: network_of(average))
    module = Module()
    trainer(*((grow, average) if first else (average, grow))).fit(module, loader, loader)
    assert isinstance(module.net[0], MorphedModule)
    assert isinstance(network_of(average)[0], MorphedModule)
    if kind != "swa before" or first:  # else it takes up the epoch's weights between the two looks
        grow.assert_kept()
    for own, other in zip(module.net.parameters(), network_of(average).parameters(), strict=True):
        assert torch.equal(own, other)  # the end of a training: the average takes over


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", AVERAGES)
@pytest.mark.parametrize("grow", [MAPPING, widened], ids=["morph", "widen"])
def test_nothing_changes_where_nothing_is_learned(kind, grow, norm, loader):
    if norm and kind.startswith("swa"):
        pytest.skip("Lightning measures the statistics anew")
    module = Module(rate=0.0, norm=norm)
    if norm:
        module.net[1].momentum = 0.0
    with torch.no_grad():
        before = module.net.eval()(EXAMPLE)
    module.net.train()
    trainer(GrowCallback(grow, at_epoch=2, attribute="net"), AVERAGES[kind](1e-12)).fit(module, loader)
    with torch.no_grad():
        torch.testing.assert_close(module.net.eval()(EXAMPLE), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", AVERAGES)
def test_a_resumed_average_is_the_uninterrupted_one(kind, epoch, loader, tmp_path):
    def run(**options):
        module, average = Module(), AVERAGES[kind]()
        saves = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        grow = GrowCallback(MAPPING, at_epoch=2, attribute="net")
        trainer(grow, average, *([] if options else [saves])).fit(module, loader, **options)
        return module, network_of(average)

    whole, mean = run()
    module, again = run(ckpt_path=tmp_path / f"epoch={epoch}.ckpt", weights_only=True)
    assert module.losses == whole.losses[3 * (epoch + 1) :]
    for one, other in ((module.net, whole.net), (again, mean)):
        assert one.state_dict().keys() == other.state_dict().keys()
        for name, value in one.state_dict().items():
            assert value.equal(other.state_dict()[name]), name


@pytest.mark.parametrize("kind", ["ema", "swa before"])
def test_a_checkpoint_with_an_average_is_tested(kind, loader, tmp_path):
    class Tested(Module):
        def test_step(self, batch, index):
            self.losses.append(self.net(batch[0]))

    def callbacks():
        return GrowCallback(MAPPING, at_epoch=2, attribute="net"), AVERAGES[kind]()

    trainer(*callbacks(), ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)).fit(Module(), loader)
    module, path = Tested(), tmp_path / "epoch=3.ckpt"
    trainer(*callbacks()).test(module, loader, ckpt_path=path, weights_only=True, verbose=False)
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert all(value.equal(saved[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("hold", [AveragedModel, ModelEmaV3], ids=["torch", "timm"])
@pytest.mark.parametrize("attribute", ["net", "body.net"])
def test_an_average_in_the_module_grows_along(hold, attribute, loader, tmp_path):
    class Holding(Module):
        def __init__(self):
            super().__init__()
            if attribute == "body.net":
                self.body = nn.ModuleDict({"net": self.net})
                self.mean = hold(self.body)
            else:
                self.mean = hold(self.net)
            self.other = AveragedModel(nn.Linear(2, 2))  # of something else: left alone

        def on_train_batch_end(self, *_):
            self.mean.update_parameters(self.net if attribute == "net" else self.body) if hold is AveragedModel else (
                self.mean.update(self.net if attribute == "net" else self.body)
            )

    def network(module):
        return module.mean.module if attribute == "net" else module.mean.module["net"]

    grow, module = Watching(network, attribute=attribute), Holding()
    saves = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    trainer(grow, saves, epochs=4).fit(module, loader)
    assert isinstance(network(module)[0], MorphedModule)
    grow.assert_kept()
    again = Holding()
    resumed = Watching(network, attribute=attribute)
    trainer(resumed, epochs=4).fit(again, loader, ckpt_path=tmp_path / "epoch=2.ckpt", weights_only=True)
    for name, value in again.state_dict().items():
        assert value.equal(module.state_dict()[name]), name


def test_a_function_may_take_an_average_along_itself(loader):
    average = EMAWeightAveraging(decay=0.8)

    class Holder:
        def __init__(self, module):
            self.module = module

    def grow(net):
        result = morph(net, MAPPING, example_inputs=EXAMPLE, inplace=True)
        rebuild_ema(result, Holder(network_of(average)))
        return result

    callback = Watching(lambda _: network_of(average), grow)
    trainer(callback, average).fit(Module(), loader)
    callback.assert_kept()


def test_a_copy_that_replaces_the_network_is_averaged_on(loader):
    average = EMAWeightAveraging(decay=0.8)
    callback = Watching(lambda _: network_of(average), lambda net: morph(net, MAPPING, example_inputs=EXAMPLE))
    module = Module()
    trainer(callback, average).fit(module, loader)
    callback.assert_kept()
    assert torch.equal(module.net[4].weight, network_of(average)[4].weight)


class Backbone(Module):
    def __init__(self):
        super().__init__()
        self.backbone = self.net


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            lambda: BackboneFinetuning(1),
            "support BackboneFinetuning, which refers to parameter groups by index.*requires_grad_",
        ),
        (
            lambda: ModelPruning("l1_unstructured", amount=0.5),
            "ModelPruning, which would continue to prune.*in another",
        ),
        (
            lambda: StochasticWeightAveraging(swa_lrs=[0.05]),
            r"StochasticWeightAveraging.swa_lrs=\[...\].*without a rate.*one number",
        ),
    ],
    ids=["finetuning", "pruning", "rates by group"],
)
def test_what_counts_by_position_is_refused_at_once(other, said, loader):
    module = Backbone()
    with pytest.raises(NetmorphError, match=said):
        trainer(GrowCallback(MAPPING, at_epoch=1, attribute="net"), other()).fit(module, loader)
    assert module.losses == []


def test_an_optimizer_that_cannot_follow_is_refused_at_once(loader):
    class Flat(Module):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.net.parameters())

    module = Flat()
    with pytest.raises(NetmorphError, match="state of LBFGS is shared by all parameters"):
        trainer(GrowCallback(MAPPING, at_epoch=1, attribute="net")).fit(module, loader)
    assert module.losses == []


def test_callbacks_that_hold_no_parameters_are_fine(loader, tmp_path):
    class Mine(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            self.rates = [group["lr"] for group in trainer.optimizers[0].param_groups]

    mine = Mine()
    others = (mine, GradientAccumulationScheduler({0: 1, 2: 3}), LearningRateMonitor("step"))
    module, grow = Module(), GrowCallback(MAPPING, at_epoch=2, attribute="net")
    run = trainer(*others, grow, logger=CSVLogger(tmp_path), log_every_n_steps=1, gradient_clip_val=1.0)
    run.fit(module, loader)
    assert run.accumulate_grad_batches == 3
    assert mine.rates == [0.1, 0.1]
    assert grow.result.parity.exact
