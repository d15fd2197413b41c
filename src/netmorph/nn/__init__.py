"""The running module: a graph of real PyTorch layers."""

from netmorph.nn.collect import collect
from netmorph.nn.dag import MorphedModule
from netmorph.nn.slopes import slopes

__all__ = ["MorphedModule", "collect", "slopes"]
