"""Layers become modules: `morph` and `plan`, and what they return."""
