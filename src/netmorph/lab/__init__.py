"""Experiments: what is trained, compared and written down."""
