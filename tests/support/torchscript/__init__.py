"""Helpers of tests about TorchScript: modules, programs read from them, and damaged archives."""
