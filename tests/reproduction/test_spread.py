import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduction.spread import Paired, Spread, t_quantile


# Two-sided 95 % points of Student's t, from any printed table.
@pytest.mark.parametrize(
    ("degrees", "point"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (29, 2.045), (120, 1.980)],
)
def test_quantiles_are_those_of_the_tables(degrees, point):
    assert t_quantile(degrees) == pytest.approx(point, abs=5e-4)


def test_one_degree_is_cauchys_and_many_are_normal():
    assert t_quantile(1, 0.5) == pytest.approx(1.0)
    assert t_quantile(4001) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), abs=1e-3)


def test_the_share_of_a_t_is_that_of_a_drawn_sample():
    """A simulation as the oracle: the interval of five normal draws holds the true mean in 95 % of cases."""
    draw = statistics.NormalDist().samples(5 * 4000, seed=3)
    held = 0
    for start in range(0, len(draw), 5):
        spread = Spread(tuple(draw[start : start + 5]))
        held += abs(spread.mean) <= spread.margin
    assert held / 4000 == pytest.approx(0.95, abs=0.012)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=9))
def test_spread_is_mean_and_sample_deviation(values):
    spread = Spread(tuple(values))
    assert spread.mean == pytest.approx(sum(values) / len(values))
    assert spread.std == pytest.approx(statistics.stdev(values))
    assert spread.to_dict()["n"] == len(values)


def test_one_value_has_no_spread():
    spread = Spread((8.75,))
    assert (spread.std, spread.margin) == (None, None)
    assert spread.show() == "8.75 (n=1)"
    assert Spread((1.0, 3.0)).show(1) == "2.0 ± 1.4 (n=2)"


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ([7.0, 7.1, 7.2], [8.0, 8.1, 8.3], "-1.03 ± 0.06 (n=3): better"),
        ([8.0, 8.1, 8.3], [7.0, 7.1, 7.2], "+1.03 ± 0.06 (n=3): worse"),
        ([7.0, 8.0, 7.5], [7.2, 7.9, 7.6], "-0.07 ± 0.15 (n=3): no clear difference, lower for 2 of 3 seeds"),
        ([7.0, None, None], [8.0, 8.0, 8.0], "-1.00 (n=1): no verdict from one seed"),
        ([7.0, 7.0], [7.0, 7.0], "+0.00 ± 0.00 (n=2): no clear difference, lower for 0 of 2 seeds"),
    ],
)
def test_pairs_and_their_verdict(one, other, said):
    assert str(Paired.of(one, other)) == said


def test_only_whole_pairs_count():
    paired = Paired.of([1.0, None, 3.0, 4.0], [2.0, 2.0, None, 3.0])
    assert paired is not None
    assert paired.differences == (-1.0, 1.0)
    assert Paired.of([None, 1.0], [1.0, None]) is None


def test_json_of_a_pair_holds_the_interval():
    found = Paired.of([1.0, 2.0, 3.5], [0.0, 0.0, 0.0]).to_dict()
    assert found["verdict"] == "no clear difference"
    assert found["margin"] == pytest.approx(4.302653 * found["std"] / math.sqrt(3), rel=1e-5)
