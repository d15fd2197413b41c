"""What test_distributed runs in two processes: by torchrun, or started by Lightning.

Usage: python two_processes.py FOLDER TASK... Each process writes what it found to FOLDER/TASK-RANK.pt.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from netmorph.data.dataset import Dataset, Split
from netmorph.train.loop import Paused, fit
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=16, lr=0.1)


def data():
    draw = torch.Generator().manual_seed(0)

    def split(n):
        images = torch.randint(256, (n, 2, 6, 6), generator=draw, dtype=torch.uint8)
        return Split(images, torch.randint(3, (n,), generator=draw))

    return Dataset.of("noise", split(50), split(13), classes=3)


def network(normed=False):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6) if normed else nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(6, 4, 3),
            nn.Flatten(),
            nn.Linear(64, 3),
        )


def machine():
    return Machine(accelerator="cpu", devices=2, strategy="ddp")


def train(folder):
    """A phase is stopped, resumed and ended; and one with BatchNorm, whose statistics are each process's own."""
    net, asked = network(), []
    try:
        fit(net, data(), RECIPE, 0, machine=machine(), folder=folder / "run", stop=lambda: asked.append(1) or True)
    except Paused as pause:
        stopped_after = len(pause.rows)
    net = network()
    rows = fit(net, data(), RECIPE, 0, machine=machine(), folder=folder / "run")
    normed = network(normed=True)
    fit(normed, data(), RECIPE, 0, machine=machine())
    return {
        "weights": net.state_dict(),
        "rows": [asdict(row) for row in rows],
        "asked": len(asked),
        "stopped_after": stopped_after,
        "normed": normed.state_dict(),
    }


def grow(folder):
    """A user's own Trainer, in which the network grows; batches, hence calibration, are other ones in each process."""
    import warnings

    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import EMAWeightAveraging

    from netmorph.errors import NetmorphError
    from netmorph.nn import MorphedModule
    from netmorph.train.callback import GrowCallback

    warnings.filterwarnings("ignore", module="lightning")

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network(normed=True)
            self.gradients, self.shares = [], []

        def training_step(self, batch, index):
            self.shares.append(batch[1].tolist())
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def on_before_optimizer_step(self, optimizer):
            self.gradients.append({name: each.grad.clone() for name, each in self.named_parameters()})

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    def trainer(callback):
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        return Trainer(
            max_epochs=2,
            accelerator="cpu",
            devices=2,
            strategy="ddp",
            callbacks=[callback, EMAWeightAveraging(decay=0.8)],
            enable_checkpointing=False,
            **quiet,
        )

    given = data()
    images, labels = given.normalise(given.train.images), given.train.labels
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=10)
    module = Module()
    callback = GrowCallback(
        {"0": "3x3 > 1x1 | 1x1"},
        at_epoch=1,
        example_inputs=images[:2],
        calibration=lambda trainer: trainer.train_dataloader,
    )
    run = trainer(callback)
    run.fit(module, loader)
    assert isinstance(module.model[0], MorphedModule)

    def sometimes(net):
        if torch.distributed.get_rank() == 1:
            raise NetmorphError("not here")
        return callback.result

    try:
        trainer(GrowCallback(sometimes, at_epoch=0)).fit(Module(), loader)
        refused = ""
    except NetmorphError as error:
        refused = str(error)
    return {
        "weights": {name: each.detach() for name, each in module.named_parameters()},
        "gradients": module.gradients,
        "shares": module.shares,
        "refused": refused,
    }


def main(folder, tasks):
    torch.set_num_threads(1)
    for task in tasks:
        found = {"train": train, "grow": grow}[task](folder)
        torch.save(found, folder / f"{task}-{torch.distributed.get_rank()}.pt")
    torch.distributed.barrier()  # else the first to end would take the others down
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
