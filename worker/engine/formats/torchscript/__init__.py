"""TorchScript: modules opened, profiled, rewritten, run, and read into programs.

What it shares with torch.export lies in `formats.aten`.

Files and methods:
    file, storages: the archive, loaded with refusals that name the fault, and written again.
    method, graph: methods with their calls inlined, and walks over their nodes.
    operators: what torch's schemas say of an operator.
    signature: inputs and outputs of `forward`.

Surgery:
    layers, sites: the nodes that multiply by a weight, gathered by the weight that they share.
    profile: one run of the module that sees every multiply-accumulate.
    rewrite: chains of layers in the place of a site's nodes.
    model: all of this as the engine's `Model`.

Folders:
    preparation: graphs made ready to be counted and rewritten.
    program: a method's graph, read into a program of steps.
    execution: single nodes, run without a change to the values that they take.

runner: the module as production runs it. adapter: the package's entry for the engine.
"""
