"""Single nodes of a graph, run by themselves.

node_call: a function from the values that a node captures to its outputs.
copy_on_write: the same for a node that writes, which then changes copies.
nested_values: the tensors in lists, tuples and dictionaries of values.
"""
