"""The report: one self-contained HTML file about a morph or a training run."""
