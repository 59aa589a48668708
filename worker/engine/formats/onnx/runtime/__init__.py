"""ONNX Runtime: its sessions, their options, and the runner of models."""
