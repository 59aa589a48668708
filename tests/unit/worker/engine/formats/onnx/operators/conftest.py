"""Entries of the table of operators, made for one node without a model around it."""

import pytest

from worker.engine.formats.onnx.operators.operator import Operator


@pytest.fixture
def entry():
    """Return what makes the torch function of a node of one operator, with its attributes."""

    def entry(table, kind, *, opset=21, inputs=(), outputs=1, **attributes):
        operator = Operator(kind, opset, attributes, tuple(inputs), outputs, outputs)
        return table[kind](operator)

    return entry
