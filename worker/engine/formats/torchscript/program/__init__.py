"""A method's graph, read into a program of steps.

eval_mode: a copy of the graph in evaluation mode.
reader: the graph read node by node; norms and writes are the two harder kinds of node.
value_names, step_recorder: the state of the reader: names of values, and steps.
shared_memory: which values change along with one that is written.
examples: values of a run without data, which settle questions of their axes and types.
"""
