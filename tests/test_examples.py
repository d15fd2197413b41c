"""The examples run, and each ends in a picture; where the documents were just built, their gallery ran them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
OPTIONS = {"train_then_collapse.py": ["--quick", "--seeds", "0", "1"]}


def made_by_gallery(gallery: Path, name: str) -> Path:
    page = (gallery / f"{name}.rst").read_text()
    *_, picture = sorted((gallery / "images").glob(f"sphx_glr_{name}_0*.*"))  # the last is what it ends in
    assert f"images/{picture.name}" in page
    return picture


def made_by_running(example: Path, folder: Path) -> Path:
    ran = subprocess.run(
        [sys.executable, str(example), str(folder), *OPTIONS.get(example.name, [])],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    picture = Path(ran.stdout.splitlines()[-1].removeprefix("the picture: "))
    assert picture in list(folder.iterdir())
    return picture


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_ends_in_a_picture(example: Path, tmp_path: Path) -> None:
    gallery = os.environ.get("NETMORPH_GALLERY")
    picture = made_by_gallery(ROOT / gallery, example.stem) if gallery else made_by_running(example, tmp_path)
    if picture.suffix == ".svg":
        assert picture.read_text().count("<text") > 3
    else:
        image = pytest.importorskip("matplotlib.image").imread(picture)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.02


def test_the_gallery_shows_them_all() -> None:
    order = (ROOT / "docs/gallery_pictures.py").read_text()
    assert [path.name for path in EXAMPLES if path.name not in order] == []
