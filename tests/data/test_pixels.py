import torch
from hypothesis import given
from hypothesis import strategies as st

from netmorph.data.pixels import crop, moments, normalised


@given(pad=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 99))
def test_each_image_is_the_shift_of_itself_that_was_drawn(pad, flip, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(1, 255, (6, 2, 5, 7), generator=generator, dtype=torch.uint8)
    shift = torch.randint(2 * pad + 1, (2, 6), generator=generator)
    mirrored = (torch.rand(6, generator=generator) < 0.5) & flip
    out = crop(images, shift, mirrored, pad)
    assert out.shape == images.shape
    assert out.is_contiguous(memory_format=torch.channels_last)
    padded = torch.nn.functional.pad(images, (pad,) * 4)
    for k, image in enumerate(out):
        row, column = shift[:, k].tolist()
        window = padded[k, :, row : row + 5, column : column + 7]
        assert image.equal(window.flip(2) if mirrored[k] else window)


@given(n=st.integers(1, 5), c=st.integers(1, 3), seed=st.integers(0, 99))
def test_moments_are_those_of_the_pixels_and_normalising_takes_them_away(n, c, seed):
    images = torch.randint(256, (n, c, 4, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    mean, std = moments(images)
    pixels = images.double() / 255
    torch.testing.assert_close(mean, pixels.mean((0, 2, 3)).float())
    torch.testing.assert_close(std, pixels.std((0, 2, 3)).float())
    out = normalised(images, mean, std)
    assert out.is_contiguous(memory_format=torch.channels_last)
    expected = (pixels - pixels.mean((0, 2, 3), keepdim=True)) / pixels.std((0, 2, 3)).view(1, -1, 1, 1)
    torch.testing.assert_close(out, expected.float(), atol=1e-5, rtol=1e-5)
