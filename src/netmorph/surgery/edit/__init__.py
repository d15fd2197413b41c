"""Changing a network: modules swapped and rebuilt, copies, what became of which parameter."""
