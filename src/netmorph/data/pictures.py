"""Views of a photograph: scale augmentation for training, one view or ten for evaluation (section 4.4 of the paper)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netmorph.errors import NetmorphError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["as_rgb", "evaluation_views", "open_picture", "random_view"]

_SCALES = (256, 480)  # of the shorter side while training, both included
_SHORTER = 256  # the shorter side at evaluation
_HIGH_BYTE = {"I;16": 1, "I;16L": 1, "I;16B": 0, "I;16N": int(sys.byteorder == "little")}


def open_picture(path: str) -> Image:
    """Read an image as RGB.

    Raises:
        NetmorphError: if the image cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return as_rgb(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
        raise NetmorphError(f"the image {path} cannot be read: {error}", remedies=["remove it"]) from error


def as_rgb(image: Image) -> Image:
    """Return an image with 8 bits for each of red, green and blue; of 16 bits the upper ones, as Pillow does in color.

    Raises:
        ValueError: if the range of its pixel values is unknown.
    """
    from PIL import Image

    if image.mode in _HIGH_BYTE:  # which Pillow itself would cut off at 255: almost all white
        image = Image.frombytes("L", image.size, image.tobytes()[_HIGH_BYTE[image.mode] :: 2])
    elif image.mode[0] in "IF":
        raise ValueError(f"the range of its values is unknown (Pillow's mode {image.mode})")
    return image.convert("RGB")


def random_view(image: Image, side: int, generator: torch.Generator) -> Tensor:
    """Scale an image at random, cut a square out of it, and mirror it or not.

    Args:
        image: RGB.
        side: of the square, in pixels.
        generator: draws the shorter side in [256, 480], the place of the square, and whether it is mirrored.

    Returns:
        ``(1, side, side, 3)``, uint8.
    """
    shorter = _draw(_SCALES[1] - _SCALES[0], generator) + _SCALES[0]
    width, height = _scaled(image, shorter)
    left, top = _draw(width - side, generator), _draw(height - side, generator)
    view = _cut(image, (width, height), (left, top, side, side))
    return (view.flip(1) if _draw(1, generator) else view)[None]


def evaluation_views(image: Image, side: int, views: int) -> Tensor:
    """Cut squares out of an image whose shorter side was made 256 pixels.

    Args:
        image: RGB.
        side: of the squares, in pixels.
        views: 1: the middle; 10: the middle, the corners, and their mirror images.

    Returns:
        ``(views, side, side, 3)``, uint8.
    """
    width, height = size = _scaled(image, _SHORTER)
    right, bottom = width - side, height - side
    middle = (round(right / 2), round(bottom / 2))
    if views == 1:
        return _cut(image, size, (*middle, side, side))[None]
    whole = _cut(image, size, (0, 0, *size))
    places = (middle, (0, 0), (right, 0), (0, bottom), (right, bottom))
    squares = torch.stack([whole[y : y + side, x : x + side] for x, y in places])
    return torch.cat((squares, squares.flip(2)))


def _draw(largest: int, generator: torch.Generator) -> int:
    """Draw from 0 to ``largest``, both included."""
    return int(torch.randint(largest + 1, (), generator=generator))


def _scaled(image: Image, shorter: int) -> tuple[int, int]:
    """Return width and height with the shorter side as given and the proportions kept."""
    factor = shorter / min(image.size)
    width, height = (max(shorter, round(each * factor)) for each in image.size)
    return width, height


def _cut(image: Image, size: tuple[int, int], window: tuple[int, int, int, int]) -> Tensor:
    """Return a window (left, top, width, height) of the image scaled to a size, ``(height, width, 3)``.

    Only the window's pixels are computed, which is the greater part of the saving over scaling everything.
    """
    from PIL import Image

    left, top, width, height = window
    across, down = image.width / size[0], image.height / size[1]
    box = (
        left * across,
        top * down,
        min((left + width) * across, image.width),
        min((top + height) * down, image.height),
    )
    view = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return torch.frombuffer(bytearray(view.tobytes()), dtype=torch.uint8).view(height, width, 3)
