"""The command line, `convpress`."""
