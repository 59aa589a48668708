"""Channels that several layers lose together: where they can, what that saves, and what is cut."""
