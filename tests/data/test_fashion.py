import lzma
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.pictures import idx

from netmorph.data import fashion as module
from netmorph.data.fashion import load_fashion
from netmorph.errors import NetmorphError

FULL = Path("/usr/share/datasets/fashion-mnist")


def test_the_bundled_subset_is_balanced_and_normalises():
    data = load_fashion()
    assert data.train.images.shape == (8000, 1, 28, 28)
    assert data.test.images.shape == (2000, 1, 28, 28)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.bincount().tolist() == [800] * 10
    assert data.test.labels.bincount().tolist() == [200] * 10
    assert len(data.train.images.unique()) == 10  # grey levels
    assert data.test.images.unique().equal(data.train.images.unique())
    pixels = data.normalise(data.train.images)
    assert pixels.mean().abs() < 1e-4
    assert pixels.std().sub(1).abs() < 1e-4


def test_the_bundled_images_are_not_shuffled_against_their_labels():
    # A nearest-mean classifier gets about 68 % right; with labels out of step it would get 10 %.
    data = load_fashion()
    train, test = data.normalise(data.train.images).flatten(1), data.normalise(data.test.images).flatten(1)
    means = torch.stack([train[data.train.labels == label].mean(0) for label in range(10)])
    assert (torch.cdist(test, means).argmin(1) == data.test.labels).float().mean() > 0.6


def test_the_assets_stay_small_and_carry_their_license():
    assets = files("netmorph.data") / "assets"
    assert sum(len(item.read_bytes()) for item in assets.iterdir()) < 1_400_000  # the wheel stays below 2 MB
    assert "Zalando" in (assets / "LICENSE").read_text()


@pytest.mark.skipif(not FULL.exists(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_subset_is_what_its_script_makes(tmp_path):
    script = Path(__file__).parents[2] / "tools/make_fashion_subset.py"
    subprocess.run([sys.executable, script, "--out", tmp_path], check=True, capture_output=True)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert len(made) == 4
    for name in made:  # compressed bytes may differ between versions of xz
        bundled = (files("netmorph.data") / "assets" / name).read_bytes()
        assert lzma.decompress((tmp_path / name).read_bytes()) == lzma.decompress(bundled)


def test_first_keeps_the_first():
    data = load_fashion()
    small = data.first(30, 20)
    assert (len(small.train), len(small.test)) == (30, 20)
    assert small.train.images.equal(data.train.images[:30])
    assert small.mean is data.mean


TRUNCATED = lzma.compress(bytes([0, 0, 8, 1, 0, 0, 0, 9, 1]))
BROKEN_OFF = TRUNCATED[:-9]


@pytest.mark.parametrize(
    "content", [b"", b"garbage", TRUNCATED, BROKEN_OFF], ids=["empty", "garbage", "truncated", "broken off"]
)
def test_a_damaged_file_is_one_message(tmp_path, monkeypatch, content):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "train-images-idx3-ubyte.xz").write_bytes(content)
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    with pytest.raises(NetmorphError, match="data file .*train-images.*cannot be read.*reinstall"):
        load_fashion()


IMAGES, LABELS = np.zeros((2, 28, 28)), [1, 2]


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (LABELS, IMAGES, r"train-images.* cannot be read: it holds \(2,\), which are not 3 dimensions.*reinstall"),
        (IMAGES, IMAGES, r"train-labels.* cannot be read: it holds \(2, 28, 28\), which are not 1 dim"),
        (IMAGES, [1, 26], "train-labels.* is not of Fashion-MNIST .10 classes, a label 26"),
    ],
    ids=["swapped", "images twice", "letters"],
)
def test_files_of_something_else_are_told(tmp_path, monkeypatch, images, labels, said):
    (tmp_path / "assets").mkdir()
    for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
        (tmp_path / "assets" / f"train-{kind}-ubyte.xz").write_bytes(lzma.compress(idx(values)))
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    with pytest.raises(NetmorphError, match=said):
        load_fashion()
