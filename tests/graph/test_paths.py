import re

import pytest
from hypothesis import given
from tests.oracles import paths
from tests.strategies import module_graphs

from netmorph.graph.catalogue import catalogue, ladder
from netmorph.graph.notation import parse
from netmorph.graph.paths import equation, path_count
from netmorph.graph.spec import ModuleGraph


@given(module_graphs())
def test_path_count_is_the_number_of_paths(graph: ModuleGraph) -> None:
    assert path_count(graph) == len(list(paths(graph)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (str(catalogue["module_d"]), "G = F5 F1 + F6 (F3 F1 + F4 F2) + F7 F2"),
        ("3x3", "G = s_t"),
        ("id", "G = id"),
        ("-1*id", "G = -id"),
        ("id > id", "G = id"),
        ("0.5*id | 1x1 > 1x1", "G = 0.5 + a_t s_a"),
        ("1x1 > 0.5*id > 1x1", "G = 0.5 b_t s_a"),
        ("0.5*id > -0.5*id", "G = -0.25"),
        ("1x1 | -0.5*id > 1x1", "G = s_t - 0.5 a_t"),
        ("(3 | 1) > (3 | id)", "G = (a_t + id) (s_a + s_a_2)"),
        ("(3 | 1) > id > 5", "G = b_t (s_a + s_a_2)"),
        ("(3 | 1) > -1*id", "G = -(s_a + s_a_2)"),
        ("(3 | 1) > id", "G = s_a + s_a_2"),
        ("1 > 2*avg3x3~2 | 3", "G = 2 avg3x3~2 s_a + s_t"),
        ("F1=s-a:3, F2=s-a:1, F3=a-b:1, F4=a-t:1, F5=b-t:1", "G = F4 [a] + F5 F3 [a]\n[a] = F1 + F2"),
    ],
)
def test_equations(text: str, expected: str) -> None:
    assert equation(parse(text)) == expected


def test_the_symbol_can_be_chosen() -> None:
    assert equation(parse("3"), name="H") == "H = s_t"


def expanded(graph: ModuleGraph, text: str) -> list[str]:
    """Multiply an equation out again: one product of edges for each path, sorted."""
    lines = dict(line.split(" = ", 1) for line in text.split("\n"))

    def evaluate(expression: str) -> list[list[str]]:
        tokens = re.findall(r"\[\w+\]|\w+|[()+]", expression)

        def total(at: int) -> tuple[list[list[str]], int]:
            terms: list[list[str]] = []
            while True:
                product_, at = product_of(at)
                terms += product_
                if at == len(tokens) or tokens[at] == ")":
                    return terms, at
                assert tokens[at] == "+"
                at += 1

        def product_of(at: int) -> tuple[list[list[str]], int]:
            factors = [[]]
            while at < len(tokens) and tokens[at] not in "+)":
                if tokens[at] == "(":
                    factor, at = total(at + 1)
                elif tokens[at].startswith("["):
                    factor = evaluate(lines[tokens[at]])
                else:
                    factor = [[tokens[at]]]
                factors = [left + right for left in factors for right in factor]
                at += 1
            return factors, at

        return total(0)[0]

    return sorted(" ".join(product_) for product_ in evaluate(lines["G"]))


@given(module_graphs())
def test_an_equation_multiplied_out_is_the_sum_over_paths(graph: ModuleGraph) -> None:
    """Eq. 5, outermost filter first."""
    expected = sorted(" ".join(edge.name for edge in reversed(path)) for path in paths(graph))
    assert expanded(graph, equation(graph)) == expected


def test_a_ladder_of_2_to_the_40_paths_is_never_expanded() -> None:
    graph = ladder(40)
    assert path_count(graph) == 2**40
    text = equation(graph)
    assert len(text.split("\n")) == 1 + 2 * 38
    assert len(text) < 40 * len(graph.edges)


def test_long_products_are_broken_into_lines() -> None:
    text = equation(parse(" > ".join(["(3 | 1)"] * 200)))
    assert max(map(len, text.split("\n"))) < 400
    assert len(text) < 200 * 40
