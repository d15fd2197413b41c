"""What a user gave is quoted in messages as far as it helps, and no further."""

from netmorph.errors import NetmorphError, NotationError, shortened


def test_a_text_of_usual_length_is_left_as_it_is():
    text = "no site matches 'layer1.*': " + ", ".join(f"'layer{n}.0.conv1'" for n in range(60))
    assert shortened(text) == text


def test_a_long_word_and_a_long_text_keep_their_ends():
    word = "a" * 700 + "z" * 300
    assert shortened(f"no {word} here") == f"no {'a' * 128}[... 808 characters ...]{'z' * 64} here"
    text = "b " * 5000
    cut = shortened(text)
    assert len(cut) < 2000
    assert "[... 8,500 characters ...]" in cut


def test_every_part_of_a_message_is_shortened():
    long = "x" * 100_000
    error = NetmorphError(long, site=long, graph=long, shapes=long, remedies=[long, "a remedy that stays"])
    assert len(str(error)) < 2000
    assert str(error).endswith("or a remedy that stays.")
    assert error.what == long, "whoever reads the parts has them whole"
    assert len(str(NotationError(long, "3x3", 0))) < 1000
