"""What the words of a file may build: networks by name, with arguments from a list (decision 14).

Whoever calls `build` may pass anything. A checkpoint may pass only what says how large a network is and how it runs: no
place to fetch from, no file to open, no class to import.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from netmorph.errors import NetmorphError
from netmorph.models.depths import DEEPEST
from netmorph.models.registry import build

__all__ = ["rebuild"]

_COUNT, _SIZE = 1 << 20, 1 << 14
_WEIGHTS = frozenset({"pretrained", "pretrained_strict", "weights", "weights_backbone", "progress"})
_CHANGED_BY_WEIGHTS = ("googlenet", "inception_v3")  # torchvision's, which also rescale images then
_MODEL = re.compile(r"[A-Za-z0-9_]{1,200}(\.[A-Za-z0-9_]{1,100})?")  # timm's have a tag after a dot
_WORD = re.compile(r"[A-Za-z0-9_.]{0,60}")
_AS_INTO = "create the parent yourself and pass it: load(..., into=your_network)"


@dataclass(frozen=True)
class _Kind:
    """What an argument may be; null always.

    Attributes:
        words: what that is.
        holds: whether a value is.
    """

    words: str
    holds: Callable[[Any], bool]


def _whole(low: int, high: int) -> _Kind:
    return _Kind(f"a whole number from {low:,} to {high:,}", lambda value: type(value) is int and low <= value <= high)


def _real(low: float, high: float) -> _Kind:
    return _Kind(
        f"a number from {low:g} to {high:g}", lambda value: type(value) in (int, float) and low <= value <= high
    )


def _some(one: _Kind, most: int = 16) -> _Kind:
    """Allow one value or a list of such."""

    def holds(value: Any) -> bool:
        return all(map(one.holds, value)) and len(value) <= most if isinstance(value, list) else one.holds(value)

    return _Kind(f"{one.words}, or a list of at most {most} such", holds)


def _fully(pattern: re.Pattern[str], words: str) -> _Kind:
    return _Kind(words, lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None)


_FLAG = _Kind("true or false", lambda value: type(value) is bool)
_NAME = _fully(_WORD, "a name of at most 60 letters, digits, '_' and '.'")
_RATE = _real(0, 1)
_CLASSES, _CHANNELS = _whole(0, _COUNT), _whole(1, _SIZE)

_ALLOWED: Mapping[str, Mapping[str, _Kind]] = {
    "netmorph": {
        "num_classes": _CLASSES,
        "in_channels": _CHANNELS,
        "width": _whole(1, 4096),
        "stem_stride": _whole(1, 64),
        "seed": _whole(-(2**63), 2**64 - 1),
        "depth": _whole(1, DEEPEST),
        "shortcut_scale": _RATE,
    },
    "torchvision": {
        **dict.fromkeys(("weights", "weights_backbone"), _NAME),
        **dict.fromkeys(
            ("progress", "aux_logits", "aux_loss", "init_weights", "memory_efficient", "transform_input"), _FLAG
        ),
        **dict.fromkeys(("norm_first", "zero_init_residual"), _FLAG),
        **dict.fromkeys(("attention_dropout", "drop_rate", "dropout", "dropout_aux", "stochastic_depth_prob"), _RATE),
        "replace_stride_with_dilation": _some(_FLAG),
        "num_classes": _CLASSES,
        **dict.fromkeys(("bn_size", "growth_rate", "groups", "width_per_group", "num_init_features"), _CHANNELS),
        "trainable_backbone_layers": _whole(0, 16),
        "num_keypoints": _whole(1, _SIZE),
        "image_size": _whole(1, _SIZE),
        "width_mult": _real(0, 16),
    },
    "timm": {
        **dict.fromkeys(("pretrained", "pretrained_strict", "features_only", "class_token", "qkv_bias"), _FLAG),
        **dict.fromkeys(("dynamic_img_pad", "dynamic_img_size", "no_embed_class", "pre_norm", "qk_norm"), _FLAG),
        **dict.fromkeys(("exportable", "scriptable", "strict_img_size", "zero_init_last"), _FLAG),
        **dict.fromkeys(("attn_drop_rate", "drop_block_rate", "drop_path_rate", "drop_rate", "patch_drop_rate"), _RATE),
        **dict.fromkeys(("pos_drop_rate", "proj_drop_rate", "init_values"), _RATE),
        **dict.fromkeys(("act_layer", "global_pool", "norm_layer"), _NAME),
        "num_classes": _CLASSES,
        **dict.fromkeys(("base_width", "cardinality", "in_chans", "stem_width"), _CHANNELS),
        **dict.fromkeys(("img_size", "patch_size", "window_size"), _some(_whole(1, _SIZE), 2)),
        **dict.fromkeys(("channels", "dims", "embed_dim", "num_heads"), _some(_CHANNELS)),
        **dict.fromkeys(("depth", "depths", "layers"), _some(_whole(1, 256))),
        **dict.fromkeys(("channel_multiplier", "depth_multiplier", "mlp_ratio"), _real(0, 64)),
        "out_indices": _some(_whole(-64, 64), 64),
        "output_stride": _whole(1, 64),
    },
}


def rebuild(name: str, **arguments: Any) -> nn.Module:
    """Build a network from what a file says of it.

    Nothing is fetched, unpickled or imported: arguments that ask for weights are read and left out, for the file has
    its own.

    Args:
        name: as `build` takes it.
        **arguments: of its constructor.

    Returns:
        The network, with random weights.

    Raises:
        NetmorphError: if there is no such network, or an argument is not on the list or not within its bounds.
    """
    source, _, model = name.partition(":")
    allowed = _ALLOWED.get(source)
    if allowed is None or _MODEL.fullmatch(model) is None:
        raise NetmorphError(
            f"a checkpoint's parent is built by a name such as torchvision:resnet18, not by {name!r:.100}",
            shapes=f"sources {', '.join(_ALLOWED)}",
            remedies=[_AS_INTO],
        )
    for key, value in arguments.items():
        if key not in allowed:
            raise NetmorphError(
                f"a checkpoint may not give the argument {key!r:.60} to {source}:{model}", remedies=[_AS_INTO]
            )
        if value is not None and not allowed[key].holds(value):
            raise NetmorphError(
                f"the checkpoint's argument {key!r} of {source}:{model} is not {allowed[key].words}",
                shapes=f"{value!r:.60}",
                remedies=[_AS_INTO],
            )
    if source == "torchvision" and model in _CHANGED_BY_WEIGHTS and arguments.get("weights") is not None:
        raise NetmorphError(
            f"torchvision:{model} computes something else with the checkpoint's argument 'weights'", remedies=[_AS_INTO]
        )
    return build(name, **{key: value for key, value in arguments.items() if key not in _WEIGHTS})
