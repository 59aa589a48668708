"""ONNX: models read, profiled, run and rewritten."""
