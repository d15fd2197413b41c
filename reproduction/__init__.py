"""The experiments of the paper, and what goes beyond them: run from a clone, no part of the package."""
