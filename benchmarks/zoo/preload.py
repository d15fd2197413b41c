"""Imported once by the server that the models' processes fork from: else each would spend seconds on imports."""

import contextlib

import benchmarks.zoo.check
import benchmarks.zoo.job  # noqa: F401
import torch

for _library in ("torchvision", "timm", "transformers"):
    with contextlib.suppress(ImportError):
        __import__(_library)
with contextlib.suppress(ImportError):
    import torchvision.models  # noqa: F401

torch.set_num_threads(1)
