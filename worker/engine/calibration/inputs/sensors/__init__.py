"""Generators of what sensors other than cameras give: sounds, signals, volumes, many bands."""
