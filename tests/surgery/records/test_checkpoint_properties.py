"""Random layers, graphs, norms, activations and dtypes: what is loaded is what was saved, bit by bit."""

from __future__ import annotations

import copy
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.surgery.random_layers import layers, signal
from torch import nn

from netmorph.errors import GraphError, InfeasibleMorph
from netmorph.graph.spec import ModuleGraph
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.checkpoint import load, save
from netmorph.surgery.records.history import history_of


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=40)
@given(
    layers(),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    st.sampled_from([None, "neutral", "calibrated", "group", "layer"]),
    st.sampled_from([None, "auto", "gelu"]),
    st.booleans(),
)
def test_load_undoes_save(
    problem: tuple[nn.Module, tuple[int, ...], ModuleGraph],
    dtype: torch.dtype,
    norm: str | None,
    act: str | None,
    twice: bool,
) -> None:
    layer, shape, graph = problem
    parent, x = nn.Sequential(layer.to(dtype), nn.ReLU()), signal(shape).to(dtype)
    options = {"example_inputs": x, "act": act, "norm": norm, "check": False}
    options["calibration"] = [x] if norm == "calibrated" else None
    try:
        child = morph(parent, {"0": graph}, keep_parent=True, **options).model
        if twice:
            edge = next(each.name for each in graph.edges if each.fixed is None)
            child = morph(child, {f"0.edges.{edge}": "1 > 1"}, keep_parent=True, **options).model
    except (GraphError, InfeasibleMorph):
        assume(False)
    child.train()(x).float().square().sum().backward()  # statistics move on
    with torch.no_grad():
        for parameter in child.parameters():
            parameter.sub_(0.1 * parameter.grad)
    with TemporaryDirectory() as folder:
        save(child, folder)
        again = load(folder, copy.deepcopy(parent))
    own, other = child.state_dict(), again.state_dict()
    assert list(own) == list(other)
    for key, value in own.items():
        assert (value.dtype, value.stride()) == (other[key].dtype, other[key].stride()), key
        assert value.equal(other[key]) or bool((value.isnan() & other[key].isnan()).any()), key
    assert history_of(again) == history_of(child)
    assert str(again) == str(child)
    with torch.no_grad():
        one, two = child.eval()(x), again.eval()(x)
    assert bool(((one == two) | (one.isnan() & two.isnan())).all())
