from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.lab.quickstart import Setting, mapping, quickstart
from netmorph.models.registry import build
from netmorph.nn.slopes import slopes
from netmorph.surgery.sites.find import find_sites


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


NAMES = ["parent", "child", "parent, trained on", "from scratch", "from scratch, longer"]


def test_the_sites_are_the_two_inner_convolutions():
    parent = build("netmorph:plain", width=4, in_channels=1)
    sites = find_sites(parent, torch.zeros(1, 1, 28, 28))
    assert [sites.select(pattern).names for pattern in mapping()] == [("conv2", "conv3")]


def test_every_step_is_taken_and_every_site_is_exact(tmp_path):
    listener, threads = Silent(), torch.get_num_threads()
    outcome = quickstart(TINY, tmp_path / "run", listener)
    # The child's image costs 5.47 times the parent's.
    assert listener.heard == [
        ("parent", 4), ("morphed", 0, 100), ("child", 1), ("parent, trained on", 5), ("from scratch", 1),
        ("from scratch, longer", 2),
    ]  # fmt: skip
    assert [row.epochs for row in outcome.contenders] == [4, 5, 9, 1, 2]
    parent, child, on, scratch, longer = outcome.contenders
    assert parent.params == on.params < child.params == scratch.params == longer.params
    assert parent.macs == on.macs < child.macs == scratch.macs == longer.macs
    assert child.seconds > parent.seconds
    assert outcome.versus_parent.points == pytest.approx(on.error - child.error, abs=1e-4)
    assert outcome.versus_scratch.points == pytest.approx(scratch.error - child.error, abs=1e-4)
    assert outcome.versus_scratch_all.points == pytest.approx(longer.error - child.error, abs=1e-4)
    assert len(listener.result.parity.sites) == 2
    assert all(site.exact for site in listener.result.parity.sites)
    assert torch.get_num_threads() == threads


def test_the_child_is_born_in_pairs_with_plain_activations(tmp_path):
    listener = Silent()
    quickstart(TINY, tmp_path / "run", listener)
    assert listener.result.history[-1].options["birth"] == "pair"
    assert not list(slopes(listener.result.model))


def test_compute_is_the_same_for_all_but_half_an_epoch(tmp_path):
    setting = replace(TINY, epochs=3)
    parent, child, on, scratch, longer = quickstart(setting, tmp_path / "run", Silent()).contenders
    image = 2 * setting.batch_size  # an epoch of 128 images is two steps
    assert parent.compute == 12 * image * parent.macs
    assert child.compute - parent.compute == scratch.compute == 3 * image * child.macs
    assert abs(on.compute - child.compute) <= image * parent.macs / 2
    assert abs(longer.compute - child.compute) <= image * child.macs / 2


def test_the_curves_begin_where_they_are_compared(tmp_path, monkeypatch):
    from netmorph.lab import quickstart as module

    drawn = {}
    monkeypatch.setattr(module, "draw_curves", lambda path, curves, **given: drawn.update(curves=curves, **given))
    quickstart(TINY, tmp_path / "run", Silent())
    curves, birth = drawn["curves"], drawn["birth"]
    assert list(curves) == NAMES
    assert [x for x, _ in curves["parent"]] == [1, 2, 3, 4]
    assert birth == 4
    assert curves["child"][0] == curves["parent, trained on"][0] == curves["parent"][-1]
    assert curves["child"][-1][0] == curves["from scratch"][-1][0] == pytest.approx(4 + 5.47, abs=0.01)
    assert curves["from scratch, longer"][0][0] == pytest.approx(5.47, abs=0.01)


def test_the_seed_alone_decides(tmp_path):
    errors = [
        [row.error for row in quickstart(replace(TINY, seed=seed), tmp_path / name, Silent()).contenders]
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert errors[0] == errors[1]
    assert errors[0] != errors[2]


@pytest.mark.parametrize("phase", NAMES)
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
