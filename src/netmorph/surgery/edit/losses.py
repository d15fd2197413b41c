"""What no verb can keep: hooks on parameters that are gone, and what is new where training is off."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from netmorph.brief import listed
from netmorph.surgery.edit.swap import is_trained

_GRADIENTS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_STATES = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def losses(
    before: Mapping[str, nn.Parameter], old: Mapping[str, nn.Module], child: nn.Module, *, inplace: bool
) -> list[str]:
    """Return what a user should know of a network that a verb has changed, one sentence each.

    Args:
        before: the parent's parameters, by name.
        old: the modules that were replaced, as they stood in the parent, by name.
        child: the network now.
        inplace: whether the parent itself was changed.
    """
    notices = []
    own = {id(parameter) for parameter in child.parameters()}
    hooked = [
        name for name, p in before.items() if id(p) not in own and any(getattr(p, key, None) for key in _GRADIENTS)
    ]
    if hooked:
        why = "these parameters were replaced" if inplace else "the child is a copy, and copies of parameters have none"
        notices.append(f"gradient hooks of {listed(hooked)} are lost, since {why}: register them on the child's")
    modules = dict(child.named_modules(remove_duplicate=False))
    replaced = {name: modules[name] for name in old if name in modules}
    stateful = [name for name, new in replaced.items() if _states(old[name]) and not _states(new)]
    if stateful:
        notices.append(f"the state-dict hooks of {listed(stateful)} are lost, since its state has other names now")
    kept = {id(parameter) for parameter in before.values()}
    frozen = [
        name
        for name, new in replaced.items()
        if any(not p.requires_grad and id(p) not in kept for p in new.parameters()) and is_trained(old[name]) is False
    ]
    if frozen:
        notices.append(
            f"the new parameters of {listed(frozen)} are frozen (requires_grad=False), as the layer was: "
            "call requires_grad_(True) on the module to train them"
        )
    return notices


def _states(module: nn.Module) -> bool:
    return any(module.__dict__.get(key) for key in _STATES)
