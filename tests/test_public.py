"""The public face: what is listed, what is typed and what is there are the same."""

import ast
import inspect
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


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'morphh'"):
        nm.morphh  # noqa: B018
