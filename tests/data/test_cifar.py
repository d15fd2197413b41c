import io
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.data.pictures import encoded, pixels, write_parquet, write_records

from netmorph.data import cifar as module
from netmorph.data.cifar import CIFAR, load_cifar
from netmorph.data.sources import load_data
from netmorph.errors import NetmorphError

REAL = Path("/work/shared/data/cifar10")
C10, C100 = CIFAR["cifar10"], CIFAR["cifar100"]


def write_binary(folder, kind, each=4):
    """Write a small binary version and return all training images and labels, and the test ones."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, name in enumerate((*kind.train, kind.test)):
        images = pixels(each, seed=number)
        labels = torch.arange(each) * 7 % kind.classes
        write_records(folder / name, images, [[19] * (kind.label_bytes - 1) + [int(y)] for y in labels])
        found.append((images, labels))
    train = tuple(torch.cat(part) for part in zip(*found[:-1], strict=True))
    return train, found[-1]


def same(split, expected):
    return split.images.equal(expected[0]) and split.labels.equal(expected[1])


@pytest.mark.parametrize("kind", [C10, C100], ids=lambda kind: kind.name)
@pytest.mark.parametrize("inside", [False, True])
def test_the_binary_version_is_read(tmp_path, kind, inside):
    train, test = write_binary(tmp_path / kind.folder, kind)
    data = load_cifar(kind, tmp_path / kind.folder if inside else tmp_path)
    assert (data.name, data.classes, data.channels, data.flip) == (kind.name, kind.classes, 3, True)
    assert same(data.train, train)
    assert same(data.test, test)


def test_the_archive_is_read_where_it_lies(tmp_path):
    train, test = write_binary(tmp_path / "away" / C10.folder, C10)
    with tarfile.open(tmp_path / C10.archive, "w:gz") as archive:
        archive.add(tmp_path / "away" / C10.folder, C10.folder)
    data = load_cifar(C10, tmp_path)
    assert same(data.train, train)
    assert same(data.test, test)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["away", C10.archive]


def test_limits_keep_the_first(tmp_path):
    train, test = write_binary(tmp_path, C10)
    data = load_cifar(C10, tmp_path, train_limit=6, test_limit=1)
    assert same(data.train, (train[0][:6], train[1][:6]))
    assert same(data.test, (test[0][:1], test[1][:1]))


def damage_short(folder):
    (folder / "data_batch_2.bin").write_bytes(b"1" * 100)


def damage_empty(folder):
    (folder / "data_batch_2.bin").write_bytes(b"")


def damage_label(folder):
    write_records(folder / "data_batch_2.bin", pixels(1), [[10]])


@pytest.mark.parametrize("damage", [damage_short, damage_empty, damage_label])
def test_a_damaged_binary_version_is_told(tmp_path, damage):
    write_binary(tmp_path, C10)
    damage(tmp_path)
    with pytest.raises(NetmorphError, match=r"data_batch_2.bin is not a file of CIFAR-10's.*3073 bytes.*again"):
        load_cifar(C10, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_damaged_archive_is_told(tmp_path, content):
    (tmp_path / C10.archive).write_bytes(content)
    with pytest.raises(NetmorphError, match=r"cifar-10-binary.tar.gz cannot be read.*delete it"):
        load_cifar(C10, tmp_path)


@pytest.mark.parametrize("place", [0.5, 1.0], ids=["data", "checksum"])
def test_an_archive_with_a_wrong_byte_is_told(tmp_path, place):
    write_binary(tmp_path / "away" / C10.folder, C10)
    with tarfile.open(tmp_path / C10.archive, "w:gz") as archive:
        archive.add(tmp_path / "away" / C10.folder, C10.folder)
    content = bytearray((tmp_path / C10.archive).read_bytes())
    at = min(int(place * len(content)), len(content) - 8)  # the last 8 bytes are checksum and length
    content[at] ^= 0xFF
    (tmp_path / C10.archive).write_bytes(content)
    with pytest.raises(NetmorphError, match=r"cifar-10-binary.tar.gz cannot be read.*delete it"):
        load_cifar(C10, tmp_path)


def test_an_archive_without_the_files_is_told(tmp_path):
    with tarfile.open(tmp_path / C10.archive, "w:gz"):
        pass
    with pytest.raises(NetmorphError, match=r"cannot be read.*data_batch_1.bin"):
        load_cifar(C10, tmp_path)


def test_what_was_looked_for_is_told(tmp_path):
    with pytest.raises(NetmorphError, match=r"no CIFAR-10 in .*test_batch.bin.*cifar-10-binary.tar.gz.*train\*.parquet"
                                            r".*allow the download of https://.*Parquet files of cifar10"):  # fmt: skip
        load_cifar(C10, tmp_path)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(C10, "cifar-10-batches-py"), (C10, "cifar-10-python.tar.gz"), (C100, "cifar-100-python"),
     (C100, "cifar-100-python.tar.gz")],
)  # fmt: skip
def test_the_python_version_is_not_read_and_that_is_said(tmp_path, kind, name):
    (tmp_path / name).mkdir()
    with pytest.raises(NetmorphError, match="run arbitrary code"):
        load_cifar(kind, tmp_path)


def test_it_is_downloaded_where_that_is_allowed(tmp_path, monkeypatch):
    train, _ = write_binary(tmp_path / "away" / C10.folder, C10)

    def fetch(url, target, md5):
        assert (url, md5) == ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", C10.md5)
        with tarfile.open(target, "w:gz") as archive:
            archive.add(tmp_path / "away" / C10.folder, C10.folder)

    monkeypatch.setattr(module, "fetch", fetch)
    (tmp_path / "here").mkdir()
    assert same(load_cifar(C10, tmp_path / "here", download=True).train, train)
    monkeypatch.setattr(module, "fetch", None)  # what is there is not fetched again
    assert same(load_cifar(C10, tmp_path / "here", download=True).train, train)


@pytest.mark.parametrize(("kind", "label"), [(C10, "label"), (C100, "fine_label")], ids=["CIFAR-10", "CIFAR-100"])
def test_the_files_of_the_hub_are_read(tmp_path, kind, label):
    pytest.importorskip("pyarrow")
    train, test = pixels(5), pixels(3, seed=1)
    folder = tmp_path / "plain_text"
    write_parquet(folder / "train-00000-of-00002.parquet", train[:3], {label: [1, 2, 3], "coarse_label": [0] * 3})
    write_parquet(folder / "train-00001-of-00002.parquet", train[3:], {label: [4, 9], "coarse_label": [0] * 2})
    write_parquet(folder / "test-00000-of-00001.parquet", test, {label: [7, 8, 9], "coarse_label": [0] * 3})
    data = load_cifar(kind, tmp_path)
    assert data.name == kind.name  # PNG loses nothing
    assert same(data.train, (train, torch.tensor([1, 2, 3, 4, 9])))
    assert same(data.test, (test, torch.tensor([7, 8, 9])))
    few = load_cifar(kind, tmp_path, train_limit=4, test_limit=1)
    assert same(few.train, (train[:4], torch.tensor([1, 2, 3, 4])))
    assert len(few.test) == 1


def test_the_name_says_when_images_were_jpeg(tmp_path):
    pytest.importorskip("pyarrow")
    smooth = torch.arange(32, dtype=torch.uint8).mul(8).expand(2, 3, 32, 32)
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", smooth, {"label": [0, 1]}, form="JPEG", name="image")
    data = load_cifar(C10, tmp_path)
    assert data.name == "CIFAR-10 (JPEG)"
    assert (data.train.images.int() - smooth.int()).abs().max() <= 6


def test_each_data_set_takes_its_own_files(tmp_path):
    pytest.importorskip("pyarrow")
    for folder, label in (("a", "fine_label"), ("b", "label")):
        for split in ("train", "test"):
            write_parquet(tmp_path / folder / f"{split}.parquet", pixels(2), {label: [5, 6]})
    assert load_cifar(C10, tmp_path).train.labels.tolist() == [5, 6]
    write_parquet(tmp_path / "c" / "train.parquet", pixels(2), {"label": [0, 1]})
    write_parquet(tmp_path / "c" / "test.parquet", pixels(2), {"label": [0, 1]})
    with pytest.raises(NetmorphError, match=r"several folders.*/b, .*/c.*name one"):
        load_cifar(C10, tmp_path)
    assert load_cifar(C10, tmp_path / "c").train.labels.tolist() == [0, 1]


def test_labels_out_of_range_are_told(tmp_path):
    pytest.importorskip("pyarrow")
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", pixels(2), {"label": [5, 60]})
    with pytest.raises(NetmorphError, match="labels in .*train.parquet are not those of 10 classes"):
        load_cifar(C10, tmp_path)


def test_damaged_files_of_the_hub_are_told(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    write_parquet(tmp_path / "test.parquet", pixels(2), {"label": [5, 6]})
    png = encoded(pixels(1)[0])
    wrong = {
        "image 1 of .*train.parquet cannot be read": [png, png[:100]],
        "image 0 of .*cannot be read": [b"", png],
        r"image 1 of .*is \(16, 16\), those before": [png, encoded(pixels(1, side=16)[0])],
    }
    for message, images in wrong.items():
        files = [{"bytes": each, "path": None} for each in images]
        pq.write_table(pa.table({"img": files, "label": [0, 1]}), tmp_path / "train.parquet")
        with pytest.raises(NetmorphError, match=message):
            load_cifar(C10, tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(NetmorphError, match="train.parquet cannot be read.*download it again"):
        load_cifar(C10, tmp_path)


@pytest.mark.parametrize(
    ("label", "image", "said"),
    [
        ([1, None], bytes, "row 1 of label holds None, not the number of a class"),
        (["cat", "dog"], bytes, "row 0 of label holds 'cat'"),
        ([1.0, 2.0], bytes, "row 0 of label holds 1.0"),
        ([1, 2], list, "row 0 of img holds a list, not an image's bytes"),
    ],
    ids=["None", "text", "float", "image"],
)
def test_columns_of_other_types_are_told(tmp_path, label, image, said):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    write_parquet(tmp_path / "test.parquet", pixels(2), {"label": [5, 6]})
    images = [image(encoded(each)) for each in pixels(2)]
    pq.write_table(pa.table({"img": images, "label": label}), tmp_path / "train.parquet")
    with pytest.raises(NetmorphError, match=f"train.parquet cannot be read: {said}.*again"):
        load_cifar(C10, tmp_path)


def test_sixteen_bits_become_their_upper_eight(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    grey = torch.arange(32 * 32, dtype=torch.int32).view(32, 32) * 64
    file = io.BytesIO()
    Image.fromarray(grey.numpy().astype("uint16")).save(file, "PNG")
    for split in ("train", "test"):
        pq.write_table(pa.table({"img": [{"bytes": file.getvalue()}], "label": [1]}), tmp_path / f"{split}.parquet")
    images = load_cifar(C10, tmp_path).train.images
    assert images.equal((grey // 256).to(torch.uint8).expand(1, 3, 32, 32))


def test_a_later_file_without_the_columns_is_told(tmp_path):
    pytest.importorskip("pyarrow")
    for name, label in (("train-0", "label"), ("train-1", "other"), ("test", "label")):
        write_parquet(tmp_path / f"{name}.parquet", pixels(2), {label: [5, 6]})
    with pytest.raises(NetmorphError, match="train-1.parquet cannot be read: it has no columns img or image and label"):
        load_cifar(C10, tmp_path)


def test_a_missing_pyarrow_is_told(tmp_path, monkeypatch):
    (tmp_path / "train.parquet").touch()
    (tmp_path / "test.parquet").touch()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(NetmorphError, match=r"needs pyarrow.*pip install pyarrow pillow"):
        load_cifar(C10, tmp_path)


@pytest.mark.skipif(not REAL.exists(), reason="CIFAR-10 is not here")
def test_the_real_files_are_read():
    pytest.importorskip("pyarrow")
    data = load_data("cifar10", REAL, train_limit=2000, test_limit=1000)
    assert data.name == "CIFAR-10 (JPEG)"
    assert data.train.images.shape == (2000, 3, 32, 32)
    assert data.test.labels.bincount(minlength=10).min() > 80
    # The well-known means of CIFAR-10, in thousandths: 491, 482, 447.
    torch.testing.assert_close(data.mean, torch.tensor([0.491, 0.482, 0.447]), atol=0.01, rtol=0)
