"""What was done to a network, as data: written down, read back, replayed, saved."""
