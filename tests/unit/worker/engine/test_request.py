"""A request as the child reads it from its command line."""

import json

import pytest

from convpress.limits import Limits
from worker.engine.request import Request

PATHS = ("model.onnx", "onnx", "out.onnx", "report.json")


@pytest.mark.parametrize("limits", [None, Limits(), Limits(nodes=7)])
def test_a_request_is_read_as_it_was_written(limits):
    request = Request(
        *PATHS, budgets={"flops_budget": "50%"}, rank=3, limits=limits, precision="int8"
    )
    assert Request.from_json(request.to_json()) == request


def test_what_is_not_known_is_no_request():
    members = json.loads(Request(*PATHS).to_json())
    with pytest.raises(TypeError, match="colour"):
        Request.from_json(json.dumps({**members, "colour": "blue"}))
