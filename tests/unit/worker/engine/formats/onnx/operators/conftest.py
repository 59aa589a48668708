"""Entries of the table of operators, made for one node without a model around it."""

import pytest

from worker.engine.formats.onnx.operators.operator import Operator


@pytest.fixture
def entry():
    """Return a function from the attributes of a node to the torch function of its operator."""

    def entry(table, kind, *, opset=21, inputs=(), outputs=1, **attributes):
        operator = Operator(kind, opset, attributes, tuple(inputs), outputs, outputs)
        return table[kind](operator)

    return entry
