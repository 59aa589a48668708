"""A method's graph, read into a program of steps.

eval_mode: a copy of the graph in evaluation mode.
reader: the graph read node by node; writes are the harder kind of node.
value_names: the names of values while the graph is read.
shared_memory: which values change along with one that is written.
examples: values of a run without data, which settle questions of their axes and types.
"""
