"""Calibration inputs: synthetic images, their value ranges, distillation, and samples that a user sends."""
