"""The public face: what is listed, what is typed and what is there are the same."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import netmorph as nm


def typed():
    """Name and module of each import that only type checkers see."""
    tree = ast.parse(Path(nm.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.name: node.module for node in block.body for alias in node.names}


def test_type_checkers_see_what_is_imported_lazily():
    assert typed() == nm._HOME
    assert set(nm.__all__) == {*nm._HOME, "__version__"}
    assert set(nm.__all__) <= set(dir(nm))


@pytest.mark.parametrize("name", sorted(nm._HOME))
def test_every_public_name_is_there_and_explained(name):
    value = getattr(nm, name)
    assert getattr(value, "__module__", nm._HOME[name]).startswith("netmorph.")
    assert not inspect.ismodule(value)
    assert inspect.getdoc(value)


def test_the_names_of_the_api_page_are_where_it_says():
    page = (Path(__file__).parent.parent / "docs" / "api" / "index.md").read_text()
    rows = [line.split("|")[2] for line in page.splitlines() if line.startswith("| ")]
    names = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(names) > 30
    for name in names:
        home, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(home) if home else nm, last), name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'morphh'"):
        nm.morphh  # noqa: B018
