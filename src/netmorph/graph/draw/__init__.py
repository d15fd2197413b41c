"""Drawings of module graphs: SVG, PNG, DOT, Mermaid, and text for the terminal."""

from netmorph.graph.draw.listing import describe_edge, listing
from netmorph.graph.draw.marks import Marks

__all__ = ["Marks", "describe_edge", "listing"]
