"""TorchScript: modules read, profiled, run and rewritten."""
