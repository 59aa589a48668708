"""Helpers of tests about archives of torch.export: programs and edited archives."""
