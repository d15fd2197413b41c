"""torchvision: every model that builds without weights, and the 85 on which Torch-Pruning reports."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.zoo.entries import Entry, Way, noise
from torch import nn

SIZES = (32, 64, 80, 96, 128, 224, 299)
GROUPS = ("optical_flow", "segmentation", "detection", "video", "classification")

# The 77 and 8 models that Torch-Pruning lists, run on torchvision 0.13.1 (github.com/VainF/Torch-Pruning,
# benchmarks/prunability/readme.md).
TORCH_PRUNING_FAILS = tuple(
    """
    raft_large swin_t swin_s swin_b shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5
    shufflenet_v2_x2_0
    """.split()  # noqa: SIM905 - it stays readable
)
TORCH_PRUNING_PASSES = tuple(
    """
    alexnet vit_b_16 vit_b_32 vit_l_16 vit_l_32 vit_h_14 convnext_tiny convnext_small convnext_base
    convnext_large densenet121 densenet169 densenet201 densenet161 efficientnet_b0 efficientnet_b1
    efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7
    efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l googlenet inception_v3 mnasnet0_5 mnasnet0_75
    mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_y_400mf regnet_y_800mf
    regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf regnet_y_128gf resnet18 resnet34
    resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d wide_resnet50_2 wide_resnet101_2
    fcn_resnet50 fcn_resnet101 deeplabv3_resnet50 deeplabv3_resnet101 deeplabv3_mobilenet_v3_large
    lraspp_mobilenet_v3_large squeezenet1_0 squeezenet1_1 vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn
    vgg19_bn ssdlite320_mobilenet_v3_large ssd300_vgg16 fasterrcnn_resnet50_fpn fasterrcnn_resnet50_fpn_v2
    fasterrcnn_mobilenet_v3_large_320_fpn fasterrcnn_mobilenet_v3_large_fpn fcos_resnet50_fpn
    keypointrcnn_resnet50_fpn maskrcnn_resnet50_fpn_v2 retinanet_resnet50_fpn_v2
    """.split()  # noqa: SIM905 - it stays readable
)


def entries() -> Iterator[Entry]:
    """Yield the entries of the suite, the small groups first."""
    from torchvision import models

    for group in GROUPS:
        module = models if group == "classification" else getattr(models, group)
        for name in models.list_models(module=module):
            yield Entry(name, group, partial(_build, name), list(_ways(name, group)), double=group == "detection")


def _build(name: str, **arguments: Any) -> nn.Module:
    from torchvision import models

    model: nn.Module = models.get_model(name, weights=None, **arguments)
    if hasattr(model, "transform") and "weights_backbone" in arguments:
        _expose(model)
    return model


def _expose(model: nn.Module) -> None:
    """Let a detection model return what it computes before it selects: which of equal boxes stays is any rounding's.

    That is the feature maps, what the head on all of them returns, and the scores of the boxes that it keeps, in order.
    """
    seen: dict[str, Any] = {}
    head = model.rpn.head if hasattr(model, "rpn") else model.head

    def keep(name: str) -> Any:
        return lambda module, args, output: seen.update({name: output})

    model.backbone.register_forward_hook(keep("features"))
    head.register_forward_hook(keep("head"))
    model.register_forward_hook(lambda module, args, output: {**seen, "scores": [each["scores"] for each in output]})


def _ways(name: str, group: str) -> Iterator[Way]:
    if group == "optical_flow":
        for size in (128, 256):
            yield Way({}, partial(_flow, size))
    elif group == "video":
        yield from _video(name)
    elif group == "detection":
        yield from _detection(name)
    elif group == "segmentation":
        for size in (32, 64, 128):
            yield Way({"weights_backbone": None}, partial(noise, 1, 3, size, size))
    else:
        yield from _classification(name)


def _classification(name: str) -> Iterator[Way]:
    arguments: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if name.startswith("vit"):
        patch = int(name.rsplit("_", 1)[1])
        arguments = {"image_size": 2 * patch}
        yield Way(arguments, partial(noise, 1, 3, 2 * patch, 2 * patch))
        return
    for size in SIZES:
        yield Way(arguments, partial(noise, 1, 3, size, size))


def _video(name: str) -> Iterator[Way]:
    if name.startswith("mvit"):
        yield Way({}, partial(noise, 1, 3, 16, 224, 224))  # these fix their size
        return
    for frames, size in ((4, 32), (8, 64), (16, 64), (16, 224)):
        yield Way({}, partial(noise, 1, 3, frames, size, size))


def _detection(name: str) -> Iterator[Way]:
    threshold = "box_score_thresh" if "rcnn" in name else "score_thresh"
    arguments: dict[str, Any] = {"weights_backbone": None, threshold: 0.0}  # random scores are low: keep the boxes
    if "rcnn" in name:
        arguments["box_detections_per_img"] = 4  # masks and keypoints are computed for each
    if name.startswith("ssd"):  # these fix their size
        size = 320 if "320" in name else 300
        yield Way(arguments, partial(_images, size))
        return
    yield Way(arguments | {"min_size": 64, "max_size": 64}, partial(_images, 64))
    yield Way(arguments, partial(_images, 320))


def _images(size: int) -> tuple[Any, ...]:
    return ([noise(3, size, size).sigmoid()],)


def _flow(size: int) -> dict[str, Any]:
    return {"image1": noise(1, 3, size, size), "image2": noise(1, 3, size, size).flip(-1), "num_flow_updates": 2}
