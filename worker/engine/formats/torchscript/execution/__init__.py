"""Single nodes of a graph, run by themselves.

node_call: a function from the values that a node captures to its outputs.
"""
