import pytest

from netmorph.errors import NetmorphError
from netmorph.lab.fit_phases import FitPhase, cut_phases, read_phases
from netmorph.train.recipe import Recipe

RECIPE = Recipe(epochs=10, lr=0.2)


def shape(phases):
    return [(phase.recipe.epochs, dict(phase.sites)) for phase in phases]


def test_without_morphs_there_is_one_phase():
    assert cut_phases(RECIPE, [], [], []) == (FitPhase(RECIPE),)


@pytest.mark.parametrize(
    ("at", "when", "phases"),
    [
        ("a", [4], [(4, {}), (6, {"a": "3x3 > 1x1"})]),
        ("ab", [4], [(4, {}), (6, {"a": "3x3 > 1x1", "b": "3x3 > 1x1"})]),
        ("ab", [7, 2], [(2, {}), (5, {"b": "3x3 > 1x1"}), (3, {"a": "3x3 > 1x1"})]),
        ("a", [0], [(10, {"a": "3x3 > 1x1"})]),
        ("aa", [0, 9], [(9, {"a": "3x3 > 1x1"}), (1, {"a": "3x3 > 1x1"})]),
    ],
)
def test_morphs_cut_the_epochs(at, when, phases):
    found = cut_phases(RECIPE, list(at), ["3x3 > 1x1"] * len(at), when)
    assert shape(found) == phases
    assert sum(phase.recipe.epochs for phase in found) == 10
    assert {phase.recipe.lr for phase in found} == {0.2}


@pytest.mark.parametrize(
    ("at", "to", "when", "said"),
    [
        (["a"], [], [1], "1 --at but 0 --to"),
        (["a"], ["3x3"], [], "1 --at but 0 --grow-at"),
        (["a", "b", "c"], ["3x3"] * 3, [1, 2], "3 --at but 2 --grow-at"),
        ([], [], [1], "--grow-at but no --at"),
        (["a"], ["3x3"], [10], "--grow-at 10 does not lie within the 10 epochs"),
        (["a"], ["3x3"], [-1], "--grow-at -1"),
        (["a", "a"], ["3x3"] * 2, [3], "'a' is given twice"),
        (["a"], ["3x3 >> 1x1"], [3], "3x3 >> 1x1"),
    ],
)
def test_what_does_not_match_is_refused(at, to, when, said):
    with pytest.raises(NetmorphError) as refused:
        cut_phases(RECIPE, at, to, when)
    assert said in str(refused.value)


def test_phases_of_a_config_file():
    given = [
        {"epochs": 3},
        {"at": "a", "to": "3x3 > 1x1", "lr": 0.01},
        {"at": ["b", "c"], "to": ["id", "1x1"], "epochs": 2},
    ]
    phases = read_phases(given, "smoke", {"epochs": 5, "batch_size": 16})
    assert shape(phases) == [(3, {}), (5, {"a": "3x3 > 1x1"}), (2, {"b": "id", "c": "1x1"})]
    assert [phase.recipe.lr for phase in phases][1] == 0.01
    assert {phase.recipe.batch_size for phase in phases} == {16}


def test_a_phase_may_name_its_recipe():
    (phase,) = read_phases([{"recipe": "paper-cifar"}], "smoke", {})
    assert phase.recipe.schedule == "step"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "at least one phase"),
        ([3], "phase 1 is not a mapping"),
        ([{"epoch": 3}], "epoch"),
        ([{}, {"at": "a"}], "phase 2: 1 --at but 0 --to"),
        ([{}, {3: 4}], "phase 2 has no key 3"),
        ([{"name_or_path": "foo"}], "phase 1 has no key 'name_or_path'. Remedy: write at, to, grow, recipe"),
        ([{"at": 3, "to": "id"}], "phase 1: at must be a string"),
        ([{"at": ["a", "a"], "to": ["id", "id"]}], "is given twice"),
    ],
)
def test_wrong_phases_are_refused(given, said):
    with pytest.raises(NetmorphError) as refused:
        read_phases(given, "smoke", {})
    assert said in str(refused.value)
