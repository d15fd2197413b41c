"""Measuring that a network, or a site of it, computes what it did."""
