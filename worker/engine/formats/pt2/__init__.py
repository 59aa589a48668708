"""torch.export archives (.pt2): programs opened, counted, rewritten, run, and read into steps.

file: the archive, opened from a copy without its pickled sample inputs, and written again.
graph: the arguments of nodes, and the tensors that a program stores.
signature: inputs and outputs, with their sizes, symbols and ranges.
training: programs that were exported in training mode, which are refused.
blocks, flat: graphs within the graph, which are unfolded to be read.
layers, execute, profile: layers of the graph, and one run that sees every multiply-accumulate.
reader, shared_memory: the graph read into steps, operators that write included.
rewrite: chains of layers in the place of a node.
model: all of this as the engine's `Model`.
runner: the program as production runs it. adapter: the package's entry for the engine.

What it shares with TorchScript lies in `formats.aten`.
"""
