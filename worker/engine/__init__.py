"""The engine: a plain library that factors a network's convolutions; arrays and files in, arrays and files out.

Importing this package loads nothing: torch, onnx and onnxruntime are imported by the modules that use them, in the
child process alone.
"""
