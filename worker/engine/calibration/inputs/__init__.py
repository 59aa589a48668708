"""Calibration inputs: synthetic images, their value ranges, distilling, and real samples."""
