"""The zoo: does netmorph morph other people's networks? (`python -m benchmarks.zoo --help`)."""
