"""Helpers of tests about ONNX models: models as text, counted, split, replaced and run."""
