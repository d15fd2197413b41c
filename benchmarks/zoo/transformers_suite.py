"""Hugging Face: small random configurations of a ResNet, a ConvNeXt, a ViT and a GPT-2."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from benchmarks.zoo.entries import Entry, Way, noise
from torch import nn

_SMALL_VISION = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "ResNetForImageClassification": (
        "ResNetConfig",
        {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [2, 2]},
    ),
    "ConvNextForImageClassification": ("ConvNextConfig", {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}),
    "ViTForImageClassification": ("ViTConfig", _SMALL_VISION | {"image_size": 32, "patch_size": 8}),
    "GPT2LMHeadModel": (
        "GPT2Config",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 101, "n_positions": 32}
        | {"bos_token_id": 0, "eos_token_id": 0},
    ),
}


def entries() -> Iterator[Entry]:
    """Yield the entries of the suite."""
    for name in _MODELS:
        inputs = _tokens if name.startswith("GPT2") else partial(noise, 1, 3, 32, 32)
        yield Entry(name, "transformers", partial(_build, name), [Way({}, inputs)])


def _build(name: str) -> nn.Module:
    import transformers

    kind, arguments = _MODELS[name]
    model: nn.Module = getattr(transformers, name)(getattr(transformers, kind)(**arguments))
    return model


def _tokens() -> dict[str, Any]:
    ids = torch.randint(0, 101, (1, 12), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "use_cache": False}
