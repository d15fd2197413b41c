"""Training: data on the device, recipes and the loop."""
