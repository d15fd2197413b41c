import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netmorph.lab.results import compare

marks = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(marks)
def test_the_margin_is_that_of_a_mean_of_paired_differences(pairs):
    one, other = (torch.tensor(side) for side in zip(*pairs, strict=True))
    differences = other.double() - one.double()
    found = compare(one, other)
    assert found.points == pytest.approx(100 * differences.mean().item())
    deviation = differences.std(correction=0).item() / len(pairs) ** 0.5
    assert found.margin == pytest.approx(196 * deviation, abs=1e-9)


@given(marks)
def test_comparison_is_antisymmetric(pairs):
    one, other = (torch.tensor(side) for side in zip(*pairs, strict=True))
    there, back = compare(one, other), compare(other, one)
    assert there.points == -back.points
    assert there.margin == pytest.approx(back.margin)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [(0, 50, "5.0 ± 1.4 points fewer errors"), (50, 0, "5.0 ± 1.4 points more errors"),
     (3, 4, "no clear difference (+0.1 ± 0.2 points)"), (0, 0, "no clear difference (+0.0 ± 0.0 points)")],
)  # fmt: skip
def test_it_reads_as_a_sentence(one, other, said):
    marks = torch.arange(1000)
    assert str(compare(marks < one, marks < other)) == said
