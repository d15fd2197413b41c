"""Every verb keeps the contract, and so does one that is not netmorph's: a file, and an entry in `PLACES`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pytest
from tests.surgery.contract import VerbContract, X
from torch import Tensor, nn

from netmorph.errors import SiteError
from netmorph.json_fields import expect
from netmorph.surgery.edit.swap import inherit
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.growth.perform import Change, perform
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.parity.site import site_parity
from netmorph.surgery.records.record import PLACES
from netmorph.surgery.running.call import Call
from netmorph.surgery.sites.kinds import layer_spec


class TestMorph(VerbContract):
    operation, site = "morph", "layer1.0.conv1"

    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        return morph(model, {site: "3x3 > 1x1 | 1x1"}, example_inputs=X, inplace=inplace, seed=seed)


class TestMorphAsPairs(TestMorph):
    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        return morph(model, {site: "3x3:2x > 3x3"}, example_inputs=X, birth="pair", inplace=inplace, seed=seed)


class TestMorphByZeros(TestMorph):
    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        graph = {site: "3x3 > 1x1"}
        return morph(model, graph, example_inputs=X, birth="zero", keep_parent=True, inplace=inplace, seed=seed)


class TestMorphByTwins(TestMorph):
    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        graph = {site: "3x3 > 1x1"}
        return morph(model, graph, example_inputs=X, birth="cancel", keep_parent=True, inplace=inplace, seed=seed)


class TestWiden(VerbContract):
    operation, site = "widen", "layer1.0.conv1"

    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        return widen(model, site, "1.5x", example_inputs=X, inplace=inplace, seed=seed)


class TestWidenByZeros(TestWiden):
    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        return widen(model, site, "1.5x", example_inputs=X, birth="zero", inplace=inplace, seed=seed)


class TestDeepen(VerbContract):
    operation, recorded, site = "deepen", "morph", "layer1.0.conv1"

    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        return deepen(model, site, example_inputs=X, inplace=inplace, seed=seed)


class TestGrowKernel(VerbContract):
    operation, site, seeded = "grow_kernel", "layer1.0.conv1", False

    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        return grow_kernel(model, site, 5, example_inputs=X, inplace=inplace)


class TestRegrow(VerbContract):
    operation, site = "regrow", "layer1.0.conv1"

    def parent(self) -> nn.Module:
        return morph(super().parent(), {self.site: "3x3 > 1x1"}, example_inputs=X).model

    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        return regrow(model, site, "3x3:2x > 1x1", example_inputs=X, inplace=inplace, seed=seed)


@dataclass(frozen=True)
class Prefixed:
    """A linear layer behind a new one of as many channels, which is the identity at first."""

    leaves: ClassVar[str] = "either"
    name: str

    def __str__(self) -> str:
        return f"{self.name}: a linear layer before it"

    def find(self, model: nn.Module) -> nn.Module:
        return model.get_submodule(self.name)

    def renewed(self, found: nn.Module, like: Tensor) -> nn.Module:
        size, made_of = found.in_features, {"device": like.device, "dtype": like.dtype}
        first = nn.utils.skip_init(nn.Linear, size, size, bias=False, **made_of)  # no random number is drawn
        nn.init.eye_(first.weight)
        made = nn.Sequential(first, found)
        inherit(found, made)
        return made

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}

    @classmethod
    def from_dict(cls, data: Any) -> Prefixed:
        expect(data, {"name": str}, "a prefixed layer")
        return cls(data["name"])


def prefix(model: nn.Module, site: str, *, example_inputs: Any, inplace: bool) -> Result:
    """Put a linear layer that is the identity before another: a verb in one file."""

    if site not in dict(model.named_modules()):
        raise SiteError("there is no such layer", site=site)

    def make(network: nn.Module, recorded: Tensor | None) -> Change:
        layer, place = network.get_submodule(site), Prefixed(site)
        made = place.renewed(layer, layer.weight)
        measure = partial(site_parity, layer, made, recorded, site=site, spec=layer_spec(layer), check=True)
        return Change({site: made}, (place,), measure)

    call = Call.of(example_inputs)
    return perform("prefix", model, call, {site: make}, inplace=inplace, options={"site": site})


@pytest.fixture(autouse=True, scope="module")
def registered() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setitem(PLACES, "prefix", Prefixed.from_dict)
    yield
    patch.undo()


class TestAVerbOfSomeoneElse(VerbContract):
    operation, site, seeded = "prefix", "fc", False

    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        return prefix(model, site, example_inputs=X, inplace=inplace)
