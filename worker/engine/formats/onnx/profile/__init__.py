"""The multiply-accumulates of an ONNX graph: its sites, and the number of all other operators.

Counted: Conv, ConvTranspose, Gemm, MatMul and the operators of `other_macs` and `contrib_macs`, in
the main graph, in local functions (once a call) and in bodies. Each execution path through the Ifs
is counted, and the dearest is the total. The body of a Loop or Scan counts as often as it runs,
where the graph and the shapes of its inputs fix that.
Not counted, but listed with their number: all other operators, and those in a body whose number of
runs is not known.
"""
