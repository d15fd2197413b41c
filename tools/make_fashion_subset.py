"""Make the Fashion-MNIST subset that netmorph ships, from the four files of the full data set.

Class-balanced and seeded: the indices come from ``random.Random(seed)``, whose ``sample`` and ``shuffle`` are stable
across platforms. Pixels are rounded to ten grey levels, 0 to 255, which compress to a third of what 256 take; a wheel
is no place for 4 MB of images. Needs only the standard library.

    apt-get install dataset-fashion-mnist
    python tools/make_fashion_subset.py            # writes src/netmorph/data/assets/*.xz
"""

import argparse
import gzip
import lzma
import random
import struct
from pathlib import Path

CLASSES = 10
SIDE = 28
LEVELS = 10
SPLITS = {"train": ("train", 8_000), "test": ("t10k", 2_000)}


def read(path: Path, header: str) -> tuple[tuple[int, ...], bytes]:
    """Read an idx file: the integers of its header and the bytes that follow."""
    raw = gzip.decompress(path.read_bytes())
    size = struct.calcsize(header)
    return struct.unpack(header, raw[:size]), raw[size:]


def rounded() -> bytes:
    """Return for each grey, 0 to 255, the nearest of `LEVELS` equally spaced ones."""
    return bytes(round(round(grey * (LEVELS - 1) / 255) * 255 / (LEVELS - 1)) for grey in range(256))


def choose(labels: bytes, count: int, seed: int) -> list[int]:
    """Draw ``count`` indices, equally many of each class, in random order."""
    random_ = random.Random(seed)
    chosen: list[int] = []
    for wanted in range(CLASSES):
        members = [index for index, label in enumerate(labels) if label == wanted]
        chosen += random_.sample(members, count // CLASSES)
    random_.shuffle(chosen)
    return chosen


def main() -> None:
    """Write images and labels of both splits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "src/netmorph/data/assets")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for split, (prefix, count) in SPLITS.items():
        _, pixels = read(options.source / f"{prefix}-images-idx3-ubyte.gz", ">4I")
        _, labels = read(options.source / f"{prefix}-labels-idx1-ubyte.gz", ">2I")
        chosen = choose(labels, count, options.seed)
        area = SIDE * SIDE
        images = b"".join(pixels[index * area : (index + 1) * area] for index in chosen).translate(rounded())
        files = {
            f"{split}-images-idx3-ubyte.xz": struct.pack(">4I", 2051, count, SIDE, SIDE) + images,
            f"{split}-labels-idx1-ubyte.xz": struct.pack(">2I", 2049, count) + bytes(labels[i] for i in chosen),
        }
        for name, content in files.items():
            packed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
            (options.out / name).write_bytes(packed)
            print(f"{options.out / name}: {count} items, {len(packed):,} bytes")


if __name__ == "__main__":
    main()
