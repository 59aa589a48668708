"""Helpers of tests about the engine, whatever the format: programs, layers, oracles and effort."""
