"""The graphs of a module, made ready to be counted and rewritten: the same arithmetic, plainer.

prepare: all of these, in order.
fused_attention: attention in the operators that it consists of, in place of fused kernels.
identities: comparisons of a value with itself, settled.
"""
