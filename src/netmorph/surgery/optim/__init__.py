"""The training state follows a change: optimizers, schedulers, averages."""
