"""Table 1's first two rows on a few bundled images: the smallest experiment that there is."""

from pathlib import Path

from reproduction.__main__ import main

BUDGET = """
first: {epochs: 1, batch_size: 16, lr: 0.05, pad: 1}
next: {epochs: 1, batch_size: 16, lr: 0.05, pad: 1}
train_limit: 32
test_limit: 16
warm_batches: 1
"""
TINY = (
    *("table1", "--rows", "resnet20", "--rows", "morph20_1c1", "--seeds", "1", "--no-controls"),
    *("--data-name", "fashion-mnist-subset", "--accelerator", "cpu"),
)


def reproduce_tiny(folder: Path) -> Path:
    """Run it, and return its folder."""
    (folder / "tiny.yaml").write_text(BUDGET)
    assert main([*TINY, "--budget", str(folder / "tiny.yaml"), "--out", str(folder / "out")]) == 0
    return folder / "out"
