"""TorchScript: modules opened, profiled, rewritten, run, and read into programs.

Files and methods:
    file, storages: the archive, loaded with refusals that name the fault, and written again.
    method, graph: methods with their calls inlined, and walks over their nodes.
    operators: what torch's schemas say of an operator.
    signature: inputs and outputs of `forward`.

Surgery:
    layers, sites: the nodes that multiply by a weight, gathered by the weight that they share.
    trace, profile: one run of the module that sees every multiply-accumulate.
    rewrite: chains of layers in the place of a site's nodes.
    model: all of this as the engine's `Model`.

Programs:
    eval_mode: a copy of the graph in evaluation mode.
    program: the reader, node by node; norms and writes are the two harder kinds of node.
    value_names, step_recorder: what the reader has so far, names of values and steps.
    execute, copy_on_write: how a step runs its node, and never changes what it takes.
    shared_memory, nested_values: which values change along with one that is written.

runner: the module as production runs it. adapter: the package's entry for the engine.
"""
