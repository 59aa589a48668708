"""The gate: whether a file may be opened at all, decided from its bytes by the standard library alone."""
