"""The gate: decide from a file's bytes whether it may be opened. Standard library only."""
