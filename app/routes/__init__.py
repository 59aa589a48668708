"""The HTTP resources, one file each: they translate requests to commands and queries."""
