"""Settings that every test shares."""

import os

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)  # xdist already fills the cores

# Deterministic by default, so that a red run is red for everybody; HYPOTHESIS_PROFILE=explore draws afresh.
_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("default", derandomize=True, **_common)
settings.register_profile("explore", derandomize=False, print_blob=True, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
