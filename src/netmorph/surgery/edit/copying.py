"""Copies of a network that share nothing with it."""

from __future__ import annotations

import copy
from collections.abc import Collection

from torch import nn

from netmorph.errors import SiteError
from netmorph.surgery.running.call import reason


def deep_copy(model: nn.Module) -> nn.Module:
    """Return a deep copy of a network that remembers as much; a `torch.fx.GraphModule`'s own copy forgets."""
    copied = copy.deepcopy(model)
    parts = dict(copied.named_modules())
    for name, module in model.named_modules():
        if name in parts:  # a GraphModule's copy is without the modules that it does not call
            kept = {key: value for key, value in module.__dict__.items() if key.startswith("_netmorph")}
            parts[name].__dict__.update(copy.deepcopy(kept))
    return copied


def own_copy(model: nn.Module, inplace: bool, names: Collection[str]) -> nn.Module:
    """Return the network to change: the model itself, or a copy."""
    if not inplace:
        try:
            return deep_copy(model)
        except Exception as error:
            raise SiteError(
                f"the model cannot be copied: {reason(error)}", remedies=["pass inplace=True to change it itself"]
            ) from error
    if "" in names:
        raise SiteError(
            "the model itself is the site and cannot be replaced in place",
            site="",
            remedies=["pass inplace=False and use result.model"],
        )
    return model
