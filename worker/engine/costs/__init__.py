"""Costs in time: measured once on a host, and looked up from then on.

A choice by a stored table is the same every time; one by a stopwatch is not.
"""
