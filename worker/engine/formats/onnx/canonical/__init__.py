"""The canonical form of a model: the same function in the operators that the engine rewrites.

Domains are written in one way, fused operators are taken apart, and what depends on parameters
alone is computed. ONNX Runtime fuses the nodes again when it loads the artifact.
"""
