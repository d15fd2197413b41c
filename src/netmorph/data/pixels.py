"""What happens to pixels on their way to a network: many images at once, on whatever device they lie."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["crop", "moments", "normalised"]


def crop(images: Tensor, shift: Tensor, mirrored: Tensor, pad: int) -> Tensor:
    """Shift each image by up to ``pad`` pixels each way (zeros come in) and mirror some of them.

    Section 4.2 of the paper trains with pad 4 and mirroring.

    Args:
        images: ``(n, c, h, w)``, any dtype and device.
        shift: ``(2, n)``, int64, in ``[0, 2 * pad]``: the first row and column kept of each padded image.
        mirrored: ``(n,)``, bool: which images are mirrored.
        pad: the largest shift, in pixels.

    Returns:
        Images of the same shape, in channels-last memory.
    """
    n, c, h, w = images.shape
    device = images.device
    padded = F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1).contiguous()
    rows = shift[0, :, None] + torch.arange(h, device=device)
    columns = shift[1, :, None] + torch.arange(w, device=device)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows = rows + torch.arange(n, device=device)[:, None] * padded.shape[1]
    pixels = (rows[:, :, None] * padded.shape[2] + columns[:, None, :]).flatten()
    # Whole pixels by one index: on a CPU in half the time that indexing by image, row and column takes.
    return padded.view(-1, c).index_select(0, pixels).view(n, h, w, c).permute(0, 3, 1, 2)


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Map uint8 pixels to float32 of mean 0 and deviation 1.

    Args:
        images: ``(n, c, h, w)``, uint8.
        mean: ``(c,)``, of pixels in [0, 1].
        std: ``(c,)``, of pixels in [0, 1].

    Returns:
        Images of the same shape, in channels-last memory.
    """
    scale, shift = (
        # Spread over a whole image they lie as the pixels do: no short inner loops over three channels on a CPU.
        each.to(images.device).view(1, -1, 1, 1).expand(1, *images.shape[1:]).contiguous(memory_format=_LAST)
        for each in (1 / (255 * std), -mean / std)
    )
    return images.float().contiguous(memory_format=_LAST).mul_(scale).add_(shift)


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel over all pixels.

    Args:
        images: ``(n, c, h, w)``, uint8, on the CPU.

    Returns:
        Both of them ``(c,)``, float32, of pixels in [0, 1]; taken in float64 from how often each value occurs.
    """
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]).double()
    values, total = torch.arange(256, dtype=torch.float64) / 255, counts.sum(1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]).square()).sum(1) / (total - 1)
    return mean.float(), variance.sqrt().float()


_LAST = torch.channels_last
