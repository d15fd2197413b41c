from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.lab.quickstart import Setting, mapping, quickstart
from netmorph.models.registry import build
from netmorph.surgery.sites import find_sites


class Silent:
    def __init__(self, fail_at=None):
        self.heard, self.fail_at = [], fail_at

    @contextmanager
    def training(self, name, epochs):
        if name == self.fail_at:
            raise KeyboardInterrupt
        self.heard.append((name, epochs))
        yield None

    def morphed(self, result, changed, images):
        self.heard.append(("morphed", changed, images))
        self.result = result


TINY = replace(Setting.quick(), train=128, test=100)


def test_the_sites_are_of_three_kinds():
    parent = build("netmorph:resnet8", width=4, in_channels=1)
    sites = find_sites(parent, torch.zeros(1, 1, 28, 28))
    assert [sites.select(pattern).names for pattern in mapping()] == [
        ("layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1"),
        ("layer3.0.conv2",),
        ("layer1.0.shortcut",),
    ]


def test_every_step_is_taken_and_every_site_is_exact(tmp_path):
    listener, threads = Silent(), torch.get_num_threads()
    outcome = quickstart(TINY, tmp_path / "run", listener)
    assert listener.heard == [
        ("parent", 1), ("morphed", 0, 100), ("parent, trained on", 1), ("child", 1), ("child, from scratch", 2),
    ]  # fmt: skip
    assert [row.epochs for row in outcome.contenders] == [1, 2, 2, 2]
    parent, on, child, scratch = outcome.contenders
    assert parent.params == on.params < child.params == scratch.params
    assert parent.macs == on.macs < child.macs == scratch.macs
    assert child.seconds > parent.seconds
    assert outcome.versus_parent.points == pytest.approx(on.error - child.error)
    assert outcome.versus_scratch.points == pytest.approx(scratch.error - child.error)
    assert len(listener.result.parity.sites) == 5
    assert all(site.exact for site in listener.result.parity.sites)
    assert torch.get_num_threads() == threads


def test_the_seed_alone_decides(tmp_path):
    errors = [
        [row.error for row in quickstart(replace(TINY, seed=seed), tmp_path / name, Silent()).contenders]
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert errors[0] == errors[1]
    assert errors[0] != errors[2]


@pytest.mark.parametrize("phase", ["parent", "parent, trained on", "child", "child, from scratch"])
def test_an_interrupt_in_any_phase_leaves_nothing(tmp_path, phase):
    with pytest.raises(KeyboardInterrupt):
        quickstart(TINY, tmp_path / "runs" / "one", Silent(fail_at=phase))
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "run").write_text("x")
    listener = Silent()
    with pytest.raises(NetmorphError, match="is a file, not a folder"):
        quickstart(TINY, tmp_path / "run", listener)
    assert listener.heard == []
