"""The graphs of a module, made ready to be counted and rewritten: the same arithmetic, plainer.

prepare: all of these, in order.
fused_attention: attention in the operators that it consists of, in place of fused kernels.
split_sizes: parts of parameters, whose sizes follow from the whole.
parameters_alone: weights that follow from parameters, computed once.
devices: modules made on another device, run on the processor.
nested_tensors: encoders on padded tensors.
enumerations: comparisons of an enumeration's values, settled.
identities: comparisons of a value with itself, settled.
"""
