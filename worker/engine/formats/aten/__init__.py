"""What the formats of torch have in common: calls of aten operators on stored tensors.

layers: what identifies a stored tensor, and the geometry of a layer that multiplies by one.
sites: layers gathered by the weight that they share.
trace, counting_rules: one run that sees every multiply-accumulate.
tally: the calls of a run, gathered into a cost profile.
step_recorder, copy_on_write, norms: parts of programs, whose steps never write into their inputs.
stopwatch: the times of layers.
nested_values: the tensors in lists, tuples and dictionaries of values.
errors: torch's errors, and the line of each that states the cause.
"""
