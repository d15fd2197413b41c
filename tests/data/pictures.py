"""Small data sets on the disk, in the layouts that are read."""

import io
import struct

import numpy as np
import torch
from PIL import Image


def pixels(n, side=32, channels=3, seed=0):
    """Random images, ``(n, c, side, side)``."""
    return torch.randint(
        256, (n, channels, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def encoded(image, form="PNG"):
    """One image, ``(3, h, w)``, as a file's bytes."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, form)
    return file.getvalue()


def write_records(path, images, labels):
    """A file of CIFAR's binary version; ``labels`` are rows of one or two bytes."""
    rows = [bytes(label) + image.numpy().tobytes() for image, label in zip(images, labels, strict=True)]
    path.write_bytes(b"".join(rows))


def write_parquet(path, images, columns, form="PNG", name="img"):
    """A file as the Hub has it; ``columns`` are further ones by name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    files = [{"bytes": encoded(each, form), "path": f"{k}.png"} for k, each in enumerate(images)]
    pq.write_table(pa.table({name: files, **columns}), path)


def idx(values):
    """An idx file of uint8."""
    values = np.asarray(values, dtype=np.uint8)
    return struct.pack(f">2xBB{values.ndim}I", 8, values.ndim, *values.shape) + values.tobytes()


def write_folders(root, classes=("ant", "bee"), each=3, size=(300, 260)):
    """Folders ``train/CLASS`` and ``val/CLASS`` of photographs."""
    for split in ("train", "val"):
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(each):
                noise = np.random.default_rng((label, k)).integers(0, 256, (9, 9, 3), dtype=np.uint8)
                Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(folder / f"{k}.png")
