"""Identity shortcuts as sites: found in a traced forward, and opened for modules."""
