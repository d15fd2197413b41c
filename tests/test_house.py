"""What newcomers read is true: links lead somewhere, commands exist, pictures and API pages follow the code."""

import importlib.util
import re
from pathlib import Path

import pytest

import netmorph as nm

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "reproduction/*.md", ".github/**/*.md")
    for page in ROOT.glob(pattern)
    if not {"_build", "gallery"} & set(page.relative_to(ROOT).parts)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target and "gallery/" not in target:  # the gallery is built from examples/
            assert (page.parent / target).exists(), target


def test_links_into_the_gallery_name_an_example() -> None:
    names = {name for page in PAGES for name in re.findall(r"gallery/(\w+)\.rst", page.read_text()) if name != "index"}
    assert names
    assert {name for name in names if not (ROOT / "examples" / f"{name}.py").exists()} == set()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/release.md"])
def test_make_knows_its_targets(page: str) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`(?:[A-Z]+=\S+ )*make ([a-z-]+)", (ROOT / page).read_text()))
    assert named
    assert named <= known


def test_every_public_name_has_its_place_in_the_api() -> None:
    text = "\n".join(page.read_text() for page in (ROOT / "docs/api").glob("*.md"))
    listed = set(re.findall(r":: netmorph\.(\w+)$", text, re.MULTILINE))
    assert set(nm.__all__) - listed == {"__version__"}


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {nm.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def drawn() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("draw_pictures", ROOT / "tools/draw_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: module.to_svg(make()) for name, make in module.PICTURES.items()}


def words(svg: str) -> list[str]:
    return sorted(re.findall(r"<text[^>]*>([^<]*)<", svg))


def test_pictures_say_what_the_code_draws() -> None:
    pictures = drawn()
    assert {path.name for path in (ROOT / "docs/pictures").iterdir()} == {
        Path(name).name for name in pictures if name.startswith("pictures/")
    }
    for name, svg in pictures.items():
        assert words((ROOT / "docs" / name).read_text()) == words(svg), f"{name}: run tools/draw_pictures.py"


def test_every_decision_has_a_date() -> None:
    notes = sorted((ROOT / "docs/decisions").glob("0*.md"))
    assert len(notes) >= 10
    for number, note in enumerate(notes, 1):
        title, _, date, *_ = note.read_text().splitlines()
        assert title.startswith(f"# {number}. ")
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", date)
