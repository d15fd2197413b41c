"""Sphinx's configuration; `make docs` builds the pages with warnings as errors, without a network."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from netmorph import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for what lies beside this file

from result_pages import take_in  # noqa: E402 - it lies beside this file

project = "netmorph"
author = "the netmorph authors"
copyright = "2026, the netmorph authors"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "**/GALLERY_HEADER.rst", "gallery/**.ipynb", "gallery/**.py"]

# Markdown: headings are targets, so that pages can link to each other's sections.
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

# Docstrings are Google's; single backticks mean code in them.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
maximum_signature_line_length = 88

# Links into Python's and PyTorch's pages need the network: only where it is asked for.
if os.environ.get("NETMORPH_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "image_scrapers": ("gallery_pictures.saved_pictures",),
    "reset_argv": "gallery_pictures.arguments",
    "within_subsection_order": "gallery_pictures.Order",
    "abort_on_example_error": True,
    "show_memory": False,
    "min_reported_time": 20,
    "remove_config_comments": True,
    "download_all_examples": False,
    "notebook_extensions": set(),  # the examples are scripts: they take a folder from the command line
    "show_signature": False,
    "copyfile_regex": r"",
    "reset_modules": (),
    "write_computation_times": False,
}

html_theme = "furo"
html_title = f"netmorph {release}"
html_static_path = ["_static"]
html_css_files = ["netmorph.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"source_repository": "", "sidebar_hide_name": False}


def _star(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep the star of shapes such as (c_out, c_in, *kernel), which begins an emphasis elsewhere."""
    lines[:] = [line.replace(", *kernel", r", \*kernel") for line in lines]


def setup(app: Any) -> None:
    """Let Sphinx call what is defined here."""
    app.connect("autodoc-process-docstring", _star)
    app.connect("source-read", take_in)
