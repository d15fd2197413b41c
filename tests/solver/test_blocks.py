"""Block-diagonal matrices and matrices as they were drawn, against the same written out."""

from dataclasses import replace
from math import gcd

import pytest
import torch
from hypothesis import given, settings
from tests.strategies import module_graphs, seeds, sites

from netmorph.errors import GraphError
from netmorph.filters import ConvSpec
from netmorph.graph.spec import ModuleGraph
from netmorph.solver.blocks import expand, multiply, shrink
from netmorph.solver.candidates import layouts, most_share
from netmorph.solver.inverse import Inverse
from netmorph.solver.noise import Mixing, generator
from netmorph.solver.pointwise import draw_system


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (6, 2), (2, 6), (4, 6), (6, 4), (6, 6)])
@pytest.mark.parametrize("taps", [(), (3,)])
def test_products_of_blocks(n: int, m: int, taps: tuple[int, ...]) -> None:
    left, right = noise(n, 5, 12 // n), noise(*taps, m, 12 // m, 2, seed=1)
    made = multiply(left, right)
    assert made.shape[-3] == gcd(n, m)
    torch.testing.assert_close(expand(made, 1), expand(left, 1) @ expand(right, 1))


def test_expand_and_shrink_are_inverse() -> None:
    blocks = noise(3, 6, 2, 5)
    for groups in (1, 2, 3, 6):
        whole = expand(blocks, groups)
        assert whole.shape == (3, groups, 12 // groups, 30 // groups)
        assert torch.equal(shrink(whole, 6), blocks)
        assert float(whole.abs().sum()) == pytest.approx(float(blocks.abs().sum()))


@pytest.mark.parametrize(("rows", "cols"), [(300, 700), (529, 529), (600, 270), (258, 257)])
@pytest.mark.parametrize("seed", range(3))
def test_a_mixing_is_its_matrix(rows: int, cols: int, seed: int) -> None:
    mixing = replace(Mixing.draw(rows, cols, generator(seed)), scale=0.25)
    matrix = mixing.matrix()
    few = min(rows, cols)
    gram = matrix @ matrix.mT if rows <= cols else matrix.mT @ matrix
    torch.testing.assert_close(gram, torch.eye(few, dtype=torch.float64) / 16, rtol=0, atol=1e-13)
    x, y = noise(2, 1, cols, 3), noise(2, 1, rows, 300)
    torch.testing.assert_close(mixing.times(x), matrix @ x, rtol=0, atol=1e-13)
    least = mixing.undo(y)
    torch.testing.assert_close(least, 16 * matrix.mT @ y, rtol=0, atol=1e-12)
    if rows < cols:
        beside = noise(2, 1, cols, 300, seed=2)
        size = float(beside.square().mean()) * (cols - rows) / cols
        noisy = mixing.undo(y, beside)
        torch.testing.assert_close(matrix @ noisy, y, rtol=0, atol=1e-12)
        assert float((noisy - least).square().mean()) == pytest.approx(size, rel=0.02)


def test_the_inverse_of_blocks_is_that_of_each() -> None:
    blocks = noise(5, 3, 7)
    inverse = Inverse.of(blocks)
    torch.testing.assert_close(inverse.inverse, torch.linalg.pinv(blocks))
    assert inverse.condition == pytest.approx(float(torch.linalg.cond(blocks).max()), rel=0.1)
    blocks[2, 0] = blocks[2, 1]
    assert Inverse.of(blocks).share == pytest.approx(2 / 3)


@given(module_graphs(max_blobs=6, widths=True, fixed=True), sites(largest_kernel=3, max_channels=5), seeds())
@settings(max_examples=60, deadline=None)
def test_what_structure_refuses_lacks_rank(graph: ModuleGraph, site: ConvSpec, seed: int) -> None:
    for layout in layouts(graph, site):
        if isinstance(layout, GraphError) or most_share(layout) == 1:
            continue
        try:
            factors = draw_system(layout, seed)[1].values()
        except GraphError:
            continue
        assert any(factor.full_rank is False for factor in factors), layout


@pytest.mark.parametrize("cols", [300, 341])
def test_mixings_beside_identities_are_undone_as_if_written_out(cols: int) -> None:
    mixing = replace(Mixing.draw(300, cols, generator(1)), scale=0.5)
    eye = torch.eye(300, dtype=torch.float64)
    parts = (mixing, None, replace(Mixing.draw(300, 300, generator(2)), scale=2.0))
    whole = torch.cat([eye if each is None else each.matrix() for each in parts], dim=-1)
    inverse = Inverse.beside(parts)
    assert inverse.full_rank
    assert not inverse.square
    product = torch.randn(2, 1, 300, 5, dtype=torch.float64, generator=generator(3))
    torch.testing.assert_close(inverse.undo(product), torch.linalg.pinv(whole) @ product, rtol=0, atol=1e-12)


def test_one_square_mixing_leaves_no_freedom() -> None:
    assert Inverse.beside((Mixing.draw(300, 300, generator(0)),)).square
    assert not Inverse.beside((Mixing.draw(300, 341, generator(0)),)).square
    assert Inverse.beside((None,)).square
