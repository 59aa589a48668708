"""The gate for TorchScript archives."""
