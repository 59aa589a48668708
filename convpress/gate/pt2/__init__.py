"""The gate for archives of torch.export (.pt2)."""
