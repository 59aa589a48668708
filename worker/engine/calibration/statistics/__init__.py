"""Statistics of a model on its calibration inputs."""
