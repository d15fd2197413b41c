import gzip

import pytest
import torch
from tests.data.pictures import idx, pixels, write_folders, write_records

from netmorph.data import fashion, sources
from netmorph.data.cifar import CIFAR
from netmorph.data.sources import DATA_NAMES, load_data
from netmorph.errors import NetmorphError


def write_fashion(folder, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for split, n in (("train", 6), ("t10k", 4)):
        contents = {"images-idx3": idx(pixels(n, 28, 1).squeeze(1)), "labels-idx1": idx(range(n))}
        for kind, content in contents.items():
            name = f"{split}-{kind}-ubyte"
            (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)


def test_the_names():
    assert DATA_NAMES == ("cifar10", "cifar100", "fashion-mnist", "fashion-mnist-subset", "imagefolder", "imagenet")


def test_the_subset_needs_no_folder():
    data = load_data("fashion-mnist-subset", train_limit=50, test_limit=20)
    assert (data.name, data.classes, data.channels) == ("Fashion-MNIST (subset)", 10, 1)
    assert len(data.train_batches(10, 0, 0)) == 5
    assert sum(len(y) for _, y in data.test_batches()) == 20
    assert data.example(3).shape == (3, 1, 28, 28)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("inside", ["", "fashion-mnist", "FashionMNIST/raw"])
def test_all_of_fashion_mnist(tmp_path, packed, inside):
    write_fashion(tmp_path / inside, packed)
    data = load_data("fashion-mnist", str(tmp_path), train_limit=5)
    assert data.name == "Fashion-MNIST"
    assert data.train.images.equal(pixels(6, 28, 1)[:5])
    assert data.train.labels.tolist() == [0, 1, 2, 3, 4]
    assert data.test.labels.tolist() == [0, 1, 2, 3]


def test_a_missing_fashion_mnist_is_told(tmp_path):
    with pytest.raises(NetmorphError, match="no Fashion-MNIST in .*train-images.*missing.*fashion-mnist-subset"):
        load_data("fashion-mnist", tmp_path)


def test_what_is_missing_of_fashion_mnist_is_downloaded(tmp_path, monkeypatch):
    write_fashion(tmp_path / "away")
    write_fashion(tmp_path / "here")
    (tmp_path / "here" / "t10k-labels-idx1-ubyte.gz").unlink()
    fetched = []

    def fetch(url, target, md5):
        assert len(md5) == 32
        fetched.append(url)
        target.write_bytes((tmp_path / "away" / target.name).read_bytes())

    monkeypatch.setattr(fashion, "fetch", fetch)
    assert len(load_data("fashion-mnist", tmp_path / "here", download=True).test) == 4
    assert [url.rpartition("/")[2] for url in fetched] == ["t10k-labels-idx1-ubyte.gz"]


def test_a_damaged_fashion_mnist_is_told(tmp_path):
    write_fashion(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(range(3))))
    with pytest.raises(NetmorphError, match="holds 4 images and .* 3 labels"):
        load_data("fashion-mnist", tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"abc")[:-9])
    with pytest.raises(NetmorphError, match="t10k-labels.*cannot be read.*download it again"):
        load_data("fashion-mnist", tmp_path)


def test_cifar_and_folders_go_by_their_names(tmp_path):
    kind = CIFAR["cifar100"]
    for name in (*kind.train, kind.test):
        write_records(tmp_path / name, pixels(3), [[0, 99]] * 3)
    assert load_data("cifar100", tmp_path, train_limit=2).train.labels.tolist() == [99, 99]
    write_folders(tmp_path / "photos", each=1)
    for name in ("imagenet", "imagefolder"):
        assert load_data(name, tmp_path / "photos", workers=0).name == "photos (2 classes)"


def test_the_default_folder_is_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(NetmorphError, match=f"no CIFAR-10 in {tmp_path}/netmorph/data"):
        load_data("cifar10")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sources._cache().parts[-3:] == (".cache", "netmorph", "data")


def test_mistakes_are_told(tmp_path):
    with pytest.raises(NetmorphError, match="unknown data set 'mnist'.*cifar10, cifar100, fashion-mnist"):
        load_data("mnist")
    with pytest.raises(NetmorphError, match="test_limit must be positive, got 0"):
        load_data("cifar10", tmp_path, test_limit=0)
    with pytest.raises(NetmorphError, match="imagenet cannot be downloaded"):
        load_data("imagenet", tmp_path, download=True)
    with pytest.raises(NetmorphError, match="imagefolder cannot be downloaded. Remedy: leave download out"):
        load_data("imagefolder", tmp_path, download=True)


def test_data_on_a_device_is_the_same_data():
    data = load_data("fashion-mnist-subset", train_limit=40, test_limit=10)
    moved = data.to("cpu")
    for (a, x), (b, y) in zip(data.train_batches(8, 1, 2), moved.train_batches(8, 1, 2), strict=True):
        assert a.equal(b)
        assert x.equal(y)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_serves_what_the_cpu_serves():
    data = load_data("fashion-mnist-subset", train_limit=400, test_limit=100)
    moved = data.to("cuda")
    for (a, x), (b, y) in zip(data.train_batches(64, 1, 2), moved.train_batches(64, 1, 2), strict=True):
        assert b.is_cuda
        torch.testing.assert_close(a, b.cpu())
        assert x.equal(y.cpu())
