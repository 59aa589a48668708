"""Bars of progress on a terminal."""
