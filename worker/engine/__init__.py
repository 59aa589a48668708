"""The engine: a plain library that factors a network's convolutions, from files to files.

Importing this package loads nothing: torch, onnx and onnxruntime are imported by the modules that
use them, in the child process alone.
"""
