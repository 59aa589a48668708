"""ONNX models in int8: ranges of activations, the layers that survive, and the written file."""
