"""The commands that call a running service: one file a command."""
