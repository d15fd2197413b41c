"""Data sets: what they are, how they are read, and batches of them."""
