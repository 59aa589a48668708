"""Costs in time: what layers take on a host, measured there once and looked up ever after.

A choice that rests on a stored table is the same every time; one that rests on a stopwatch is not.
"""
