"""The one place that holds netmorph's version."""

__version__ = "0.1.0"
