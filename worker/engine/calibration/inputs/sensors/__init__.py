"""Generators of what sensors other than cameras give: sounds as tables of numbers."""
