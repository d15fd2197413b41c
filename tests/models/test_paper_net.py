import pytest

from netmorph.errors import NetmorphError
from netmorph.models.depths import stages_of
from netmorph.models.paper_net import PaperNet, parse_net, phase_net


@pytest.mark.parametrize(
    ("name", "net"),
    [
        ("resnet20", PaperNet(20)),
        ("morph20_1c1", PaperNet(20, "1c1")),
        ("morph56_1c1_half", PaperNet(56, "1c1", half=True)),
        ("morph20_3c1_2branch", PaperNet(20, "3c1", "all")),
        ("morph110_3c3_2branch_half", PaperNet(110, "3c3", "half")),
        ("morph34_1c1", PaperNet(34, "1c1")),
    ],
)
def test_names_are_read_and_written(name, net):
    assert parse_net(name) == net
    assert net.name == name
    assert net.parent == f"resnet{net.depth}"
    assert net.imagenet is (net.depth == 34)


@pytest.mark.parametrize(
    ("name", "branches"),
    [
        ("resnet32", ""),
        ("morph32_1c1", "0111 1"),
        ("morph32_1c1_half", "0101 0"),
        ("morph32_1c1_2branch", "0222 2"),
        ("morph32_1c1_2branch_half", "0212 1"),
    ],
)
def test_which_blocks_have_how_many_branches(name, branches):
    found = {place.name: place.branches for place in parse_net(name).places}
    digits = [int(digit) for digit in branches.replace(" ", "")]
    expected = {
        f"layer{stage}.{block}.shortcut": digit for stage in (1, 2, 3) for block, digit in enumerate(digits) if digit
    }
    assert found == expected


def test_imagenet_stages():
    blocks = [int(place.name[5]) for place in parse_net("morph34_1c1").places]
    assert [blocks.count(stage) for stage in (1, 2, 3, 4)] == [2, 3, 5, 2]
    assert stages_of(18) == (2, 2, 2, 2)
    assert stages_of(110) == (18, 18, 18)


def test_graphs():
    net = parse_net("morph20_3c1_2branch")
    assert net.graph(1) == "0.5*id | 3x3 > 1x1"
    assert net.graph(2) == "3x3 > 1x1 | 3x3 > 1x1"
    assert net.graph(1, 1.0) == "id | 3x3 > 1x1"
    assert net.graph(2, 1.0) == "id | 3x3 > 1x1 | 3x3 > 1x1"
    with pytest.raises(NetmorphError, match=r"0\.5 .* or 1\.0 .*, not 0\.3"):
        net.graph(1, 0.3)
    with pytest.raises(NetmorphError, match="resnet20 has no morphed shortcuts"):
        parse_net("resnet20").graph(1)


@pytest.mark.parametrize(
    ("net", "phase", "name"),
    [
        ("morph20_1c1_2branch", "half", "morph20_1c1_2branch_half"),
        ("morph20_1c1_2branch", "1c1", "morph20_1c1"),
        ("morph20_3c3", "3c1", "morph20_3c1"),
        ("morph56_1c1", "1c1_half", "morph56_1c1_half"),
    ],
)
def test_phases_as_the_tables_name_them(net, phase, name):
    assert phase_net(net, phase) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("morph20_2c2", "not a network of the paper.*write resnet20"),
        ("morph20", "not a network of the paper"),
        ("resnet20_half", "not a network of the paper"),
        ("morph20_1c1_half_2branch", "not a network of the paper"),
        ("morph21_1c1", r"6n \+ 2.*use 20.*18 or 34"),
        ("resnet2", "use 8"),
        ("morph8_1c1", "the first is not morphed.*14 or more"),
    ],
)
def test_other_names_are_refused(name, said):
    with pytest.raises(NetmorphError, match=said):
        parse_net(name)
