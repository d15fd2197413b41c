import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.pictures import write_folders

from netmorph.data.folders import load_folders
from netmorph.data.pictures import evaluation_views, open_picture, random_view
from netmorph.errors import NetmorphError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    write_folders(root, classes=("ant", "bee", "cat"), each=4)
    return root


@pytest.fixture(scope="module")
def data(root):
    return load_folders(root, workers=0)


def picture(width, height, seed=0):
    noise = torch.randint(256, (9, 9, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(noise.numpy()).resize((width, height), Image.Resampling.BICUBIC)


def array(image):
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)


def gap(a, b):
    return (a.int() - b.int()).abs().max().item()


@pytest.mark.parametrize("size", [(500, 375), (300, 450), (120, 130), (256, 256)])
def test_ten_views_are_the_middle_the_corners_and_their_mirrors(size):
    image = picture(*size)
    scale = 256 / min(size)
    whole = array(image.resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BILINEAR))
    height, width, _ = whole.shape
    views = evaluation_views(image, 224, 10)
    assert views.shape == (10, 224, 224, 3)
    top, left = round((height - 224) / 2), round((width - 224) / 2)
    for view, (y, x) in zip(
        views, [(top, left), (0, 0), (0, width - 224), (height - 224, 0), (height - 224, width - 224)], strict=False
    ):
        assert gap(view, whole[y : y + 224, x : x + 224]) <= 1
    assert views[5:].equal(views[:5].flip(2))
    assert gap(evaluation_views(image, 224, 1), views[:1]) <= 1


@pytest.mark.parametrize("size", [(500, 375), (300, 450), (90, 700)])
def test_a_random_view_is_a_window_of_the_scaled_image(size):
    image = picture(*size)
    for seed in range(4):
        view = random_view(image, 224, torch.Generator().manual_seed(seed))
        # The draws, in order: shorter side, left, top, mirrored.
        generator = torch.Generator().manual_seed(seed)
        shorter = 256 + int(torch.randint(225, (), generator=generator))
        factor = shorter / min(size)
        scaled = image.resize((round(size[0] * factor), round(size[1] * factor)), Image.Resampling.BILINEAR)
        left = int(torch.randint(scaled.width - 223, (), generator=generator))
        top = int(torch.randint(scaled.height - 223, (), generator=generator))
        window = array(scaled)[top : top + 224, left : left + 224]
        mirrored = bool(torch.randint(2, (), generator=generator))
        assert view.shape == (1, 224, 224, 3)
        assert gap(view[0], window.flip(1) if mirrored else window) <= 2  # rounded once across, once down


def test_scales_places_and_sides_vary():
    image = picture(400, 300)
    views = [random_view(image, 224, torch.Generator().manual_seed(seed)) for seed in range(30)]
    assert len({view.numpy().tobytes() for view in views}) > 25


def test_folders_are_found(data, root):
    assert (data.name, data.classes, data.channels, data.flip) == (f"{root.name} (3 classes)", 3, 3, True)
    assert [label for _, label in data.train] == [0] * 4 + [1] * 4 + [2] * 4


def test_a_thousand_classes_are_imagenet(tmp_path):
    for split in ("train", "val"):
        for k in range(1000):
            (tmp_path / split / f"n{k:04}").mkdir(parents=True)
            (tmp_path / split / f"n{k:04}" / "a.JPEG").touch()
    assert load_folders(tmp_path).name == "ImageNet"


def test_limits_spread_over_the_classes(root):
    data = load_folders(root, train_limit=6, test_limit=3, workers=0)
    assert [label for _, label in data.train] == [0, 0, 1, 1, 2, 2]
    assert [label for _, label in data.test] == [0, 1, 2]
    assert len(load_folders(root, train_limit=99, workers=0).train) == 12


def test_an_epoch_follows_from_seed_and_number(data):
    def epoch(seed, number):
        batches = data.train_batches(5, seed)
        batches.epoch = number
        return [(x.sum((1, 2, 3)).tolist(), y.tolist()) for x, y in batches]

    state = torch.random.get_rng_state()
    batches = data.train_batches(5, 3)
    both = [[(x.sum((1, 2, 3)).tolist(), y.tolist()) for x, y in batches] for _ in range(2)]
    assert len(batches) == len(both[0]) == 2
    assert both == [epoch(3, 0), epoch(3, 1)]
    assert both[0] != both[1]
    assert epoch(4, 0) != both[0]
    assert torch.random.get_rng_state().equal(state)


def test_ranks_share_the_batch_of_one(data):
    whole = list(data.train_batches(6, 1))
    shares = [list(data.train_batches(6, 1, rank=rank, world=2)) for rank in range(2)]
    for (images, labels), *parts in zip(whole, *shares, strict=True):
        assert sorted(labels.tolist()) == sorted(y for part in parts for y in part[1].tolist())
        assert {x.sum().item() for x in images} == {x.sum().item() for part in parts for x in part[0]}
    with pytest.raises(NetmorphError, match="cannot be shared evenly"):
        data.train_batches(5, 1, world=2)


def test_evaluation_goes_through_the_split_in_order(data):
    batches = data.test_batches(5)
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    assert len(batches) == 3
    assert labels.tolist() == [label for _, label in data.test]
    assert images.shape == (12, 3, 224, 224)
    assert images[:2].equal(data.example(2))
    assert data.example().is_contiguous(memory_format=torch.channels_last)
    ranks = [torch.cat([y for _, y in data.test_batches(5, rank=rank, world=2)]) for rank in range(2)]
    assert sorted(torch.cat(ranks).tolist()) == sorted(labels.tolist())


def test_views_of_an_image_lie_side_by_side(data):
    one = torch.cat([x for x, _ in data.test_batches()])
    batches = list(data.test_batches(40, views=10))
    assert [len(x) for x, _ in batches] == [40, 40, 40]
    assert [len(y) for _, y in batches] == [4, 4, 4]
    ten = torch.cat([x for x, _ in batches]).view(12, 10, 3, 224, 224)
    torch.testing.assert_close(ten[:, 0], one, atol=0.02, rtol=0)  # one step of 255, normalised
    assert ten[:, 5:].equal(ten[:, :5].flip(4))
    with pytest.raises(NetmorphError, match="on 1 view of each image or on 10, not on 2"):
        data.test_batches(views=2)


def test_workers_serve_the_same(data, root):
    state = torch.random.get_rng_state()
    busy = load_folders(root, workers=1).to("cpu").train_batches(5, 3)
    plain = data.train_batches(5, 3)
    for _ in range(2):  # the same workers, another epoch
        for (a, x), (b, y) in zip(busy, plain, strict=True):
            assert a.equal(b)
            assert x.equal(y)
    assert torch.random.get_rng_state().equal(state)


def test_grey_images_become_colour(tmp_path):
    picture(40, 30).convert("L").save(tmp_path / "grey.png")
    assert open_picture(str(tmp_path / "grey.png")).mode == "RGB"


def written(path, values, form):
    Image.fromarray(values).save(path, form)
    return str(path)


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_become_their_upper_eight(tmp_path, form, kind):
    values = (np.arange(70 * 60).reshape(70, 60) * 15).astype(kind)
    image = open_picture(written(tmp_path / "grey", values, form))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.repeat((values // 256).astype(np.uint8)[..., None], 3, axis=2))


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_numbers_without_a_range_are_no_picture(tmp_path, kind):
    path = written(tmp_path / "numbers.tiff", np.ones((9, 9), kind), "TIFF")
    with pytest.raises(NetmorphError, match="numbers.tiff cannot be read: the range of its values is unknown"):
        open_picture(path)


def test_a_broken_png_is_told(tmp_path):
    written(tmp_path / "broken.png", np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8), "PNG")
    content = bytearray((tmp_path / "broken.png").read_bytes())
    second = content.index(b"IDAT", content.index(b"IDAT") + 4)
    content[second : second + 4] = bytes(4)
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(NetmorphError, match="broken.png cannot be read: broken PNG file"):
        open_picture(str(tmp_path / "broken.png"))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_one_message_from_workers_too(tmp_path, workers):
    write_folders(tmp_path, each=1)
    for split in ("train", "val"):
        (tmp_path / split / "bee" / "0.png").write_bytes(b"no image")
    data = load_folders(tmp_path, workers=workers)
    for batches, split in ((data.train_batches(2, 0), "train"), (data.test_batches(), "val")):
        with pytest.raises(NetmorphError) as told:
            list(batches)
        assert str(told.value).startswith(f"the image {tmp_path / split / 'bee' / '0.png'} cannot be read")
        assert str(told.value).endswith("Remedy: remove it.")


def test_workers_are_counted_from_none(root):
    with pytest.raises(NetmorphError, match="workers must be a non-negative number of processes, got -1"):
        load_folders(root, workers=-1)


def test_what_is_wrong_is_told(tmp_path):
    with pytest.raises(NetmorphError, match="holds no images in train/CLASS.*give a folder with images"):
        load_folders(tmp_path)
    write_folders(tmp_path, each=1)
    (tmp_path / "train" / "ant").rename(tmp_path / "train" / "ape")
    with pytest.raises(NetmorphError, match=r"not hold the same classes: \['ant', 'ape'\]"):
        load_folders(tmp_path)
    (tmp_path / "train" / "ape").rename(tmp_path / "train" / "ant")
    for file in tmp_path.glob("val/ant/*"):
        file.write_bytes(b"no image")
    with pytest.raises(NetmorphError, match="val/ant/0.png cannot be read.*remove it"):
        load_folders(tmp_path, workers=0).example()
    for file in tmp_path.glob("val/ant/*"):
        file.unlink()
    with pytest.raises(NetmorphError, match="no images in val/CLASS.*ant"):
        load_folders(tmp_path)
