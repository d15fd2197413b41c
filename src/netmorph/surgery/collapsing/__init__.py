"""Morphed modules that are linear become single layers again: `collapse`."""
