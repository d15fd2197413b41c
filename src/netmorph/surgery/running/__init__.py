"""Running a network without a trace: probing, recording, counting cost, calibrating."""
