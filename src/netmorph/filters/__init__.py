"""Filters of finite support: pure tensor functions, no graphs."""

from netmorph.filters.compose import add, compose
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec

__all__ = ["ConvSpec", "Filter", "add", "compose"]
