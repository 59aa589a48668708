"""Jobs: what can be done to one, how its state changes, and how it is read."""
