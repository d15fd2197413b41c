"""Folders that an attacker made of a good checkpoint, by kind; checksums are right, content is not."""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.surgery.records.test_checkpoint import edit

from netmorph.surgery.records.checkpoint import CONFIG, WEIGHTS

Forge = Callable[[Path], object]
EVIL = "netmorph_evil"  # a module that lies in every folder; that it is imported would be seen
URL = "http://127.0.0.1:9/x"


def parent(model: str, /, **args: Any) -> Forge:
    return lambda folder: edit(folder, lambda config: config.update(parent={"name": model, "args": args}))


def put(name: str, content: bytes) -> Forge:
    def forge(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).write_bytes(content)

    return forge


def special(name: str, make: Callable[[Path], object]) -> Forge:
    def forge(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return forge


def sparse(head: bytes, size: int = 40 << 30) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.write_bytes(head)
        os.truncate(path, size)

    return make


def header(**tensors: int) -> bytes:
    """Return the header of a file of bytes, each tensor of a size."""
    content, start = {}, 0
    for name, size in tensors.items():
        content[name] = {"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text


def huge(path: Path) -> None:
    head = header(**{"blocks.acts.a.weight": 40 << 30})
    sparse(head, len(head) + (40 << 30))(path)


def history(change: Callable[[list[Any]], object]) -> Forge:
    return lambda folder: edit(folder, lambda config: change(config["history"]))


def long_module(edges: int) -> Callable[[list[Any]], object]:
    def change(records: list[Any]) -> None:
        layout = records[0]["sites"][0]["layout"]
        blobs = ["s", *(f"a{index}" for index in range(edges - 1)), "t"]
        ends = pairwise(blobs)
        found = [{"name": f"e{i}", "source": a, "sink": b, "kernel": [1]} for i, (a, b) in enumerate(ends)]
        found[0]["kernel"] = [3]
        layout["graph"] = {"edges": found}

    return change


def many(count: int) -> Callable[[list[Any]], object]:
    return lambda records: records.extend(copy.deepcopy(records[0]) for _ in range(count))


def braided(edges: int) -> Callable[[list[Any]], object]:
    """Nest series in parallels as deep as can be: ((e > e | e) > e | e) ..."""

    def change(records: list[Any]) -> None:
        long_module(edges)(records)
        found = records[0]["sites"][0]["layout"]["graph"]["edges"]
        found += [{**edge, "name": f"p{i}", "source": "s"} for i, edge in enumerate(found) if i]

    return change


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def shrinking(records: list[Any]) -> None:
    """A layer of a million classes, that a first record makes small."""

    def layer(c_out: int) -> dict[str, Any]:
        spec = {"c_in": 512, "c_out": c_out, "kernel": [], "stride": [], "dilation": [], "padding": [], "groups": 1}
        return {"kind": "linear", "spec": {**spec, "padding_mode": "zeros"}, "bias": True, "same_padding": False}

    site = {"kind": "layer", "name": "fc", "before": layer(1 << 20), "after": layer(10)}
    records.insert(0, {"operation": "widen", "sites": [site], "options": {}, "versions": {}})


def shrunk(folder: Path) -> None:
    parent("torchvision:resnet18", num_classes=1 << 20)(folder)
    history(shrinking)(folder)


KINDS: dict[str, dict[str, Forge]] = {
    "arguments": {
        "checkpoint_path": parent("timm:resnet18", checkpoint_path="evil.pth"),
        "checkpoint_path beside others": parent("timm:resnet18", num_classes=3, in_chans=1, checkpoint_path="evil.pth"),
        "overlay": parent("timm:resnet18", pretrained=True, pretrained_cfg_overlay={"url": URL, "hf_hub_id": None}),
        "pretrained_cfg": parent("timm:resnet18", pretrained=True, pretrained_cfg={"url": URL}),
        "pretrained_cfg of a file": parent("timm:resnet18", pretrained_cfg={"file": "evil.pth"}, pretrained=True),
        "pretrained_cfg of the hub": parent("timm:resnet18", pretrained_cfg="hf-hub:a/b", pretrained=True),
        "cache_dir": parent("timm:resnet18", cache_dir="/tmp"),
        "block": parent("timm:resnet18", block=f"{EVIL}.Block"),
        "activation": parent("timm:resnet18", act_layer=f"{EVIL}:Act"),
        "torchvision's weights": parent("torchvision:resnet18", weights=URL),
        "torchvision's weights as a table": parent("torchvision:resnet18", weights={"url": URL}),
        "weights of a backbone": parent("torchvision:fasterrcnn_resnet50_fpn", weights_backbone=URL),
        "norm_layer": parent("torchvision:resnet18", norm_layer=f"{EVIL}.Norm"),
        "quantize": parent("torchvision:quantized_resnet18", quantize=True),
        "a name": parent("netmorph:resnet8", name="timm:resnet18"),
        "a seed": parent("netmorph:resnet8", seed=1 << 70),
    },
    "names": {
        "hub": parent("timm:hf-hub:timm/resnet18"),
        "hub by another spelling": parent("timm:hf_hub:timm/resnet18", pretrained=True),
        "folder": parent("timm:local-dir:."),
        "scheme behind a tag": parent("timm:resnet18.http://127.0.0.1:9/x"),
        "tag with weights": parent("timm:resnet18.a1_in1k", pretrained=True),
        "detector": parent("torchvision:fasterrcnn_resnet50_fpn"),
        "module": parent(f"{EVIL}:build"),
        "module of Python": parent("os:system", command="true"),
        "path": parent(f"../{EVIL}"),
        "end of a line": parent("torchvision:resnet18\n"),
        "a million letters": parent("timm:" + "r" * 1_000_000),
    },
    "huge parents": {
        "million classes": parent("torchvision:resnet18", num_classes=1_500_000),
        "classes within the bound": parent("torchvision:resnet18", num_classes=1 << 20),
        "classes for timm": parent("timm:resnet18", num_classes=1 << 20),
        "channels": parent("timm:resnet18", in_chans=1 << 14),
        "image": parent("timm:vit_tiny_patch16_224", img_size=1 << 14),
        "width": parent("netmorph:resnet8", width=4096),
        "depth": parent("netmorph:resnet60002"),
        "deepest": parent("netmorph:resnet1202"),
        "digits": parent("netmorph:resnet" + "9" * 100_000),
        "huge only in between": shrunk,
    },
    "special files": {
        "config from a device": special(CONFIG, lambda path: path.symlink_to("/dev/zero")),
        "config from a pipe": special(CONFIG, os.mkfifo),
        "config is a folder": special(CONFIG, os.mkdir),
        "weights from a device": special(WEIGHTS, lambda path: path.symlink_to("/dev/zero")),
        "weights from a pipe": special(WEIGHTS, os.mkfifo),
        "weights are a folder": special(WEIGHTS, os.mkdir),
        "weights of 40 GiB of nothing": special(WEIGHTS, sparse(b"")),
        "weights of 40 GiB": special(WEIGHTS, huge),
    },
    "sizes": {
        "config of 40 GiB": special(CONFIG, sparse(b"{")),
        "config of 60 MB": put(CONFIG, b" " * 60_000_000),
        "config of 30 million lists": put(CONFIG, b"[" + b"[]," * 20_000_000 + b"[]]"),
        "header without end": put(WEIGHTS, b"\xff" * 8 + b"{}"),
        "header of 90 MB": put(WEIGHTS, (90_000_000).to_bytes(8, "little") + b" " * 90_000_000),
        "a pickle": put(WEIGHTS, b"\x80\x04\x95cos\nsystem\n"),
        "digits": put(CONFIG, b"9" * 1_000_000),
    },
    "nesting": {
        "lists": put(CONFIG, b"[" * 100_000),
        "whole lists": put(CONFIG, b"[" * 5_000 + b"]" * 5_000),
        "options": history(lambda records: records[0].update(options=deep(200))),
        "arguments": parent("netmorph:resnet8", width=deep(200)),
        "module": history(braided(500)),
    },
    "graphs": {
        "9,000 edges": history(long_module(9_000)),
        "1,000 edges": history(long_module(1_000)),
        "records": history(many(20_000)),
        "records without places": history(lambda records: records.extend({"sites": []} for _ in range(100_000))),
    },
}


def folders(good: Path, where: Path) -> Iterator[tuple[str, str, Path]]:
    """Make each forged folder, yield its kind, its name and where it is, and take it away again."""
    for kind, forges in KINDS.items():
        for name, forge in forges.items():
            folder = where / "forged"
            shutil.copytree(good, folder)
            (folder / f"{EVIL}.py").write_text(f"raise SystemExit('{EVIL} was imported')")
            forge(folder)
            yield kind, name, folder
            shutil.rmtree(folder)
