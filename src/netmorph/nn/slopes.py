"""The slopes of a network's morphed modules: what blends activations and norms with the identity."""

from __future__ import annotations

from torch import nn

from netmorph.nn.activations import Activations
from netmorph.nn.norm import Norms


def slopes(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the slopes a of every morphed module inside `module` (itself included), by qualified name.

    Those of eq. 8's activations (`...acts.<blob>.weight`) and of the blended norms (`...norms.<edge>.slope`). They
    start at 1, so weight decay would pull them away from the identity: exempt them. They may be annealed to 0.

    Args:
        module: any network.

    Returns:
        (qualified name, parameter) pairs; the names are those of `module.named_parameters()`.
    """
    found = []
    for prefix, container in module.named_modules():
        attribute = _ATTRIBUTES.get(type(container))
        if attribute is None:
            continue
        for key, child in container.named_children():
            slope = getattr(child, attribute, None)
            if isinstance(slope, nn.Parameter):
                found.append((".".join(filter(None, (prefix, key, attribute))), slope))
    return found


_ATTRIBUTES: dict[type[nn.Module], str] = {Activations: "weight", Norms: "slope"}
