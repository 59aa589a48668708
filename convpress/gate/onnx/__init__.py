"""The gate for ONNX files."""
