import csv
import json

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from netmorph.errors import NetmorphError, SiteError
from netmorph.nn import MorphedModule
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.train.callback import GrowCallback, grow_as_saved

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:lightning"),
]
X = torch.ones(1, 2, 6, 6)
MAPPING = {"0": "3x3 > 1x1 | 1x1"}
EPOCHS = 4


class Module(LightningModule):
    """A user's own: momentum, a schedule of its own, a network under another name."""

    def __init__(self, scheduler=True):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 3)
            )
        self.scheduler = scheduler
        self.example_input_array = torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(1))
        self.losses = []

    def training_step(self, batch, index):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        if not self.scheduler:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)]


class Evaluated(Module):
    def test_step(self, batch, index):
        self.losses.append(F.cross_entropy(self.net(batch[0]), batch[1]).item())


@pytest.fixture(scope="module")
def loader():
    draw = torch.Generator().manual_seed(2)
    images, labels = torch.randn(24, 2, 6, 6, generator=draw), torch.randint(3, (24,), generator=draw)
    return DataLoader(TensorDataset(images, labels), batch_size=8)


def trainer(*callbacks, epochs=EPOCHS, logger=False, **options):
    quiet = {"logger": logger, "enable_progress_bar": False, "enable_model_summary": False}
    saves = any(isinstance(each, ModelCheckpoint) for each in callbacks)
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_checkpointing=saves,
        **quiet,
        **options,
    )


def growing(**options):
    return GrowCallback(MAPPING, **{"at_epoch": 2, "attribute": "net"} | options)


@pytest.fixture(scope="module")
def finished(loader, tmp_path_factory):
    """A module trained to its end, with a checkpoint after each epoch."""
    folder, module, callback = tmp_path_factory.mktemp("checkpoints"), Module(), growing()
    saves = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)
    trainer(callback, saves).fit(module, loader)
    return module, callback, folder


def test_it_grows_at_its_epoch_and_keeps_the_function(finished, loader):
    module, callback, _ = finished
    assert isinstance(module.net[0], MorphedModule)
    assert callback.grown
    assert callback.result.parity.max_rel < 1e-5
    plain = Module()
    trainer().fit(plain, loader)
    assert module.losses[:6] == plain.losses[:6]
    assert module.losses[6] == pytest.approx(plain.losses[6], rel=1e-4)  # the first after the growth
    assert module.losses[-1] != plain.losses[-1]


def test_optimizer_and_schedule_go_along(loader):
    class Looking(GrowCallback):
        def on_train_epoch_start(self, trainer, pl_module):
            optimizer, last = trainer.optimizers[0], pl_module.net[4].weight
            before = optimizer.state[last].get("momentum_buffer")
            before = None if before is None else before.clone()
            super().on_train_epoch_start(trainer, pl_module)
            if trainer.current_epoch == 2:
                assert optimizer.state[last]["momentum_buffer"].equal(before)
                self.rates = [group["lr"] for group in optimizer.param_groups]
                self.decays = [group["weight_decay"] for group in optimizer.param_groups]

    module, callback = Module(), Looking(MAPPING, at_epoch=2, attribute="net")
    run = trainer(callback)
    run.fit(module, loader)
    assert callback.rates == [0.1 * 0.25] * 2
    assert callback.decays == [0.01, 0.0]
    trained = {id(each) for group in run.optimizers[0].param_groups for each in group["params"]}
    assert trained == {id(each) for each in module.parameters()}
    assert [group["lr"] for group in run.optimizers[0].param_groups] == [0.1 * 0.5**4] * 2
    slopes = run.optimizers[0].param_groups[1]["params"]
    assert slopes
    assert not any(each.eq(1).all() for each in slopes)  # they have learned


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_a_resumed_training_is_the_uninterrupted_one(finished, loader, epoch):
    whole, _, folder = finished
    module, callback = Module(), growing()
    trainer(callback).fit(module, loader, ckpt_path=folder / f"epoch={epoch}.ckpt", weights_only=True)
    assert callback.grown
    assert module.losses == whole.losses[3 * (epoch + 1) :]
    for name, value in module.state_dict().items():
        assert value.equal(whole.state_dict()[name]), name
    assert module.state_dict().keys() == whole.state_dict().keys()


def test_new_parameters_may_have_a_rate_of_their_own(loader, tmp_path):
    def run(**options):
        module, saves = Module(), ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        whole = trainer(growing(newborn_lr_factor=0.1), saves)
        whole.fit(module, loader, **options)
        return module, [group["lr"] for group in whole.optimizers[0].param_groups]

    module, rates = run()
    assert rates == pytest.approx([0.1 * 0.5**4, 0.01 * 0.5**4, 0.01 * 0.5**4])
    resumed, again = run(ckpt_path=tmp_path / "epoch=2.ckpt", weights_only=True)
    assert again == rates
    assert resumed.losses == module.losses[9:]


def test_a_checkpoint_is_evaluated_with_the_grown_network(finished, loader):
    whole, _, folder = finished

    module = Evaluated()
    trainer(growing()).test(module, loader, ckpt_path=folder / "epoch=3.ckpt", weights_only=True, verbose=False)
    with torch.no_grad():
        assert module.losses == [F.cross_entropy(whole.net(x), y).item() for x, y in loader]


def test_two_growths_resume_in_their_order(loader, tmp_path):
    def callbacks():
        later = GrowCallback(
            lambda net: deepen(net, "2", example_inputs=torch.ones(1, 2, 6, 6)), at_epoch=2, attribute="net"
        )
        return later, growing(at_epoch=1)

    whole, saves = Module(scheduler=False), ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    trainer(*callbacks(), saves).fit(whole, loader)
    for epoch in (1, 2):
        module = Module(scheduler=False)
        trainer(*callbacks()).fit(module, loader, ckpt_path=tmp_path / f"epoch={epoch}.ckpt", weights_only=True)
        assert module.losses == whole.losses[3 * (epoch + 1) :]


def test_a_function_may_grow_a_copy(loader):
    module = Module()
    first = module.net
    callback = GrowCallback(
        lambda net: morph(net, {"2": "3x3 > 1x1"}, example_inputs=torch.ones(1, 2, 6, 6)), at_epoch=1, attribute="net"
    )
    trainer(callback, epochs=2).fit(module, loader)
    assert module.net is not first
    assert isinstance(module.net[2], MorphedModule)
    assert not any(each.eq(0).all() for each in module.net[2].parameters())


@pytest.mark.parametrize(
    "grow",
    [
        lambda net: widen(net, "0", "2x", example_inputs=torch.ones(1, 2, 6, 6)),
        lambda net: grow_kernel(net, "0", 5, example_inputs=torch.ones(1, 2, 6, 6)),
    ],
    ids=["widen", "grow_kernel"],
)
def test_layers_that_grew_under_their_names_are_resumed_and_tested(grow, loader, tmp_path):
    def callback():
        return GrowCallback(grow, at_epoch=1, attribute="net")

    whole, saves = Evaluated(), ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    trainer(callback(), saves, epochs=3).fit(whole, loader)
    module = Evaluated()
    trainer(callback(), epochs=3).fit(module, loader, ckpt_path=tmp_path / "epoch=1.ckpt", weights_only=True)
    assert module.losses == whole.losses[6:]
    tested = Evaluated()
    trainer(callback()).test(tested, loader, ckpt_path=tmp_path / "epoch=2.ckpt", weights_only=True, verbose=False)
    with torch.no_grad():
        assert tested.losses == [F.cross_entropy(whole.net(x), y).item() for x, y in loader]


def test_a_checkpoint_from_before_the_growth_is_refused_by_the_grown_network(loader, tmp_path):
    module, callback, saves = (
        Evaluated(),
        growing(at_epoch=1),
        ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1),
    )
    run = trainer(callback, saves, epochs=2)
    run.fit(module, loader)
    with pytest.raises(NetmorphError, match="from before the growth.*new module"):
        run.test(module, loader, ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True, verbose=False)
    assert callback.grown
    run.test(module, loader, ckpt_path=tmp_path / "epoch=1.ckpt", weights_only=True, verbose=False)
    fresh = Evaluated()
    run.test(fresh, loader, ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True, verbose=False)
    assert isinstance(fresh.net[0], nn.Conv2d)


def test_a_function_that_grows_nothing_is_told(loader):
    module = Module()
    callback = GrowCallback(
        lambda net: collapse(net, example_inputs=torch.ones(1, 2, 6, 6)), at_epoch=0, attribute="net"
    )
    module.net = morph(module.net, MAPPING, example_inputs=torch.ones(1, 2, 6, 6)).model
    with pytest.raises(NetmorphError, match="returned a CollapseResult.*the result of morph"):
        trainer(callback).fit(module, loader)
    assert isinstance(module.net[0], MorphedModule)
    assert not callback.grown


def test_calibration_may_come_from_the_trainer(loader):
    class Normed(Module):
        def __init__(self):
            super().__init__()
            self.net.insert(1, nn.BatchNorm2d(6))

    module = Normed()
    callback = growing(at_epoch=1, calibration=lambda trainer: trainer.train_dataloader)
    trainer(callback, epochs=2).fit(module, loader)
    assert any(isinstance(each, nn.BatchNorm2d) for each in module.net[0].modules())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: growing(attribute="model"), "Module has no network 'model'.*one of 'net'"),
        (lambda: growing(inplace=False), "morphs in place"),
        (lambda: growing(newborn_lr_factor=0), "must be positive"),
        (lambda: growing(at_epoch="1"), "at_epoch must be the index of an epoch .counted from 0., got '1'"),
        (lambda: GrowCallback(lambda net: None, at_epoch=1, norm=None), "with a function as grow="),
    ],
    ids=["attribute", "inplace", "factor", "epoch", "options of a function"],
)
def test_what_cannot_work_is_refused_at_once(make, said, loader):
    module = Module()
    with pytest.raises(NetmorphError, match=said):
        trainer(make()).fit(module, loader)
    assert module.losses == []


def test_a_wrapped_network_is_refused_at_once(loader):
    module = Module()
    module.net = nn.Sequential(module.net)
    module.net.compile()
    with pytest.raises(SiteError, match="torch.compile"):
        trainer(growing()).fit(module, loader)


def test_without_an_example_there_is_one_message(loader):
    module = Module()
    module.example_input_array = None
    with pytest.raises(NetmorphError, match="no example.*pass example_inputs=.*example_input_array in Module"):
        trainer(growing(at_epoch=0)).fit(module, loader)


def test_another_optimizer_cannot_take_the_states(finished, loader):
    class Split(Module):
        def configure_optimizers(self):
            first, *others = self.net[0], self.net[2], self.net[4]
            groups = [{"params": first.parameters()}, {"params": [p for part in others for p in part.parameters()]}]
            return torch.optim.SGD(groups, lr=0.1, momentum=0.9)

    with pytest.raises(NetmorphError, match="groups do not hold the parameters.*make the optimizers as they were"):
        trainer(growing()).fit(Split(), loader, ckpt_path=finished[2] / "epoch=2.ckpt", weights_only=True)


def test_a_growth_is_told_in_one_line_and_logged(loader, tmp_path, caplog):
    module, callback, logger = Module(), growing(), CSVLogger(tmp_path)
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        trainer(callback, logger=logger).fit(module, loader)
    told = [record.getMessage() for record in caplog.records if "GrowCallback" in record.getMessage()]
    before, after = (sum(each.numel() for each in one.parameters()) for one in (Module(), module))
    assert len(told) == 1
    said = f"GrowCallback: 'net' grew at 1 site before epoch 2, {before:,} -> {after:,} parameters, parity "
    assert told[0].startswith(said)
    assert "\n" not in told[0]
    with open(logger.experiment.metrics_file_path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["parameters"]]
    assert [(int(row["step"]), float(row["parameters"])) for row in rows] == [(0, before), (6, after)]


class Loading(Evaluated):
    """As the documents tell it."""

    def __init__(self, scheduler=True):
        super().__init__(scheduler)
        self.save_hyperparameters()

    def on_load_checkpoint(self, checkpoint):
        grow_as_saved(self, checkpoint)


GROWN = {
    "morph": [lambda: growing(at_epoch=1)],
    "widen": [lambda: GrowCallback(lambda net: widen(net, "0", "2x", example_inputs=X), at_epoch=1, attribute="net")],
    "twice": [
        lambda: GrowCallback(lambda net: deepen(net, "2", example_inputs=X), at_epoch=2, attribute="net"),
        lambda: growing(at_epoch=1),
    ],
    "averaged": [lambda: growing(at_epoch=1), lambda: EMAWeightAveraging(decay=0.8)],
    "not yet": [lambda: growing(at_epoch=9)],
}


@pytest.mark.parametrize("light", [False, True], ids=["whole", "weights only"])
@pytest.mark.parametrize("kind", GROWN)
def test_a_grown_module_is_loaded_for_inference(kind, light, loader, tmp_path):
    def callbacks():
        return [make() for make in GROWN[kind]]

    whole = Loading(scheduler=False)
    saves = ModelCheckpoint(tmp_path, filename="last", save_weights_only=light)
    run = trainer(*callbacks(), saves, epochs=3)
    run.fit(whole, loader)
    path = tmp_path / "last.ckpt"
    module = Loading.load_from_checkpoint(path, weights_only=True)
    assert module.hparams.scheduler is False
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert all(value.equal(saved[name]) for name, value in module.state_dict().items())
    if not (light and kind == "averaged"):  # Lightning saves no average without the callbacks' states
        with torch.no_grad():
            assert torch.equal(module.eval().net(X), whole.eval().net(X))
    run.save_checkpoint(tmp_path / "after.ckpt")
    after = Loading.load_from_checkpoint(tmp_path / "after.ckpt", weights_only=True)
    assert torch.equal(after.eval().net(X), whole.eval().net(X))
    trainer().test(Loading(), loader, ckpt_path=path, weights_only=True, verbose=False)  # without the callback
    if kind != "averaged":
        trainer(*callbacks()).test(Evaluated(), loader, ckpt_path=path, weights_only=True, verbose=False)


def test_the_hook_does_not_disturb_a_resumed_training(loader, tmp_path):
    whole, saves = Loading(), ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    trainer(growing(), saves).fit(whole, loader)
    module = Loading()
    trainer(growing()).fit(module, loader, ckpt_path=tmp_path / "epoch=2.ckpt", weights_only=True)
    assert module.losses == whole.losses[9:]


def test_another_callback_than_the_checkpoints_is_told(finished, loader):
    for other in (growing(at_epoch=1), GrowCallback({"2": "3x3 > 1x1"}, at_epoch=2, attribute="net")):
        with pytest.raises(
            NetmorphError, match="written with other GrowCallbacks than those of this trainer.*the same ones"
        ):
            trainer(other).fit(Module(), loader, ckpt_path=finished[2] / "epoch=3.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda growths: "net", "record of its growths is a str, not a list"),
        (lambda growths: [{**growths[0], "attribute": "body"}], "has no network 'body'"),
        (lambda growths: [{**growths[0], "attribute": 3}], "has no network 3"),
        (lambda growths: [3], "has no network None"),
        (lambda growths: [{"attribute": "net"}], "record of the growth cannot be read"),
        (lambda growths: [{**growths[0], "records": "{"}], "record of the growth cannot be read"),
        (lambda growths: [{**growths[0], "records": json.dumps([{"operation": "call"}])}], "'call'|record"),
    ],
)
def test_a_forged_checkpoint_grows_nothing(change, said, finished):
    checkpoint = torch.load(finished[2] / "epoch=3.ckpt", weights_only=True)
    checkpoint["netmorph_growths"] = change(checkpoint["netmorph_growths"])
    module = Loading()
    with pytest.raises(NetmorphError, match=said):
        module.on_load_checkpoint(checkpoint)
    assert isinstance(module.net[0], nn.Conv2d)


def test_a_compiled_module_grows(loader):
    """Lightning takes the module out and compiles its steps, which are traced anew after a growth."""

    class Plain(Module):
        def training_step(self, batch, index):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def on_train_batch_end(self, outputs, batch, index):
            self.losses.append(outputs["loss"].item())

    module, plain = Plain(), Plain()
    trainer(growing()).fit(plain, loader)
    trainer(growing()).fit(torch.compile(module, backend="eager"), loader)
    assert isinstance(module.net[0], MorphedModule)
    assert module.losses == pytest.approx(plain.losses, rel=1e-5)


@pytest.mark.parametrize("birth", ["pair", "zero"])
def test_births_go_through_and_are_resumed(birth, loader, tmp_path):
    """The growth of a checkpoint is repeated with the activations of its birth, whatever the callback says now."""
    mapping = {"0": "3x3:2x > 3x3" if birth == "pair" else "3x3 | 3x3 > 3x3"}
    grow = {"at_epoch": 1, "attribute": "net", "birth": birth}
    module, callback = Module(), GrowCallback(mapping, **grow)
    trainer(callback, ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)).fit(module, loader)
    assert type(module.net[0].acts["a"]) is nn.ReLU
    assert callback.result.parity.sites[0].exact
    again = Module()
    trainer(GrowCallback(mapping, **grow)).fit(again, loader, ckpt_path=tmp_path / "epoch=2.ckpt")
    assert type(again.net[0].acts["a"]) is nn.ReLU
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in again.state_dict().items())


def test_no_such_birth_is_told_at_once():
    with pytest.raises(NetmorphError, match="expected a birth of slope, pair, zero, cancel, got 'pears'"):
        GrowCallback(MAPPING, at_epoch=1, birth="pears")
