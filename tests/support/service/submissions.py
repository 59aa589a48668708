"""Submissions by a form, with and without files."""

import io

import numpy as np

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])


def submit(api, headers=None, **fields):
    """Post a form without a file."""
    parts = {
        name: (None, value)
        for name, value in ({"flops_budget": "0.5"} | fields).items()
    }
    return api.http.post("/jobs", files=parts, headers=headers)


def model(number):
    return ONNX + b"\x3a\x00" * number


def sampled(api, samples, headers=None, **fields):
    """Post a model with samples."""
    form = {"flops_budget": "0.5"} | fields
    files = {"samples": ("samples.npy", samples), "model": ("net.onnx", model(30))}
    return api.http.post("/jobs", data=form, files=files, headers=headers)


def saved(array, **arrays):
    file = io.BytesIO()
    np.savez(file, x=array, **arrays) if arrays else np.save(file, array)
    return file.getvalue()


def evaluated(api, content, headers=None, **fields):
    """Post a model with an evaluation."""
    files = {
        "evaluation": ("evaluation.npz", content),
        "model": ("net.onnx", model(31)),
    }
    return api.http.post("/jobs", data=fields, files=files, headers=headers)


LABELLED = saved(np.zeros((4, 3), np.float32), labels=np.arange(4))


TARGETED = saved(np.zeros((4, 3), np.float32), targets=np.zeros((4, 2)))
