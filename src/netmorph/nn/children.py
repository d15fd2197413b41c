"""Children named by the user: any identifier is a name, none hides an attribute of `nn.Module`."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping

from torch import nn


class NamedChildren(nn.Module):
    """Holds children under the user's names.

    A name such as `to`, `type` or `for` would hide a method of the container or break generated code (torch.fx): it is
    registered with an underscore appended. Every other name is its own key, so state dicts read `edges.s_a.weight`.

    Args:
        children: modules by name, in order.
    """

    def __init__(self, children: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._keys: dict[str, str] = {}
        taken = set(children)
        for name, child in children.items():
            key = name
            while hasattr(self, key) or keyword.iskeyword(key) or (key != name and key in taken):
                key += "_"
            taken.add(key)
            self._keys[name] = key
            self.add_module(key, child)

    def key(self, name: str) -> str:
        """Return the key under which `name` is registered (its part of state-dict keys)."""
        return self._keys[name]

    def __getitem__(self, name: str) -> nn.Module:
        child = self._modules[self._keys[name]]
        assert child is not None
        return child

    def __contains__(self, name: str) -> bool:
        return name in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def forward(self) -> None:
        """Refuse: the children run one by one."""
        raise TypeError(f"{type(self).__name__} holds modules and cannot be called")
