"""Arguments of a kind that their operator does not take end in a refusal, or are read."""

import json
from contextlib import suppress

import pytest
from support.pt2.archives import PROGRAM, graph, members, with_members, with_program
from support.pt2.programs import opened

from convpress.gate.check import require_safe
from convpress.limits import Limits
from convpress.refusal import Code, Refusal
from worker.engine.program import NoProgramError

WRONG = (
    {"as_string": "same"},
    {"as_int": -7},
    {"as_ints": [2**62]},
    {"as_float": 0.5},
    {"as_none": True},
    {"as_tensors": []},
    {"as_bools": [True, False]},
)
CODES = {
    Code.MODEL_INVALID,
    Code.MODEL_UNSUPPORTED,
    Code.INPUT_SHAPE_MISMATCH,
    Code.INPUT_SHAPE_REQUIRED,
}


def places():
    """The node and the position of each argument of the small archive."""
    program = json.loads(members(with_members({}))[PROGRAM])
    for number, call in enumerate(graph(program)["nodes"]):
        for position, entry in enumerate(call["inputs"]):
            yield number, position, f"{call['target'].split('.')[-2]}.{entry['name']}"


PLACES = list(places())


def read(path):
    """Read a file as a job does, up to the steps of its calibration."""
    model = opened(path)
    model.count(model.bind(None))
    with suppress(NoProgramError):
        model.program()


def sentence(path, content):
    """The refusal of a file that the gate lets through; None for one that can be read."""
    path.write_bytes(content)
    try:
        require_safe(path, "pt2", Limits())
        read(path)
    except Refusal as refusal:
        return refusal
    return None


@pytest.mark.parametrize(
    ("place", "argument", "part"),
    [
        ("conv2d.weight", {"as_int": -7}, "cannot be read"),
        ("conv2d.input", {"as_string": "same"}, "cannot be run on this input shape"),
    ],
)
def test_the_refusal_says_what_is_wrong(tmp_path, place, argument, part):
    number, position, _ = next(each for each in PLACES if each[2] == place)

    def edit(program):
        graph(program)["nodes"][number]["inputs"][position]["arg"] = argument

    refusal = sentence(tmp_path / "model.pt2", with_program(edit))
    assert refusal is not None
    assert refusal.code in CODES
    assert len(refusal.detail) < 500


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("number", "position", "name"), PLACES, ids=[each[2] for each in PLACES]
)
def test_each_argument_of_each_wrong_kind_ends_in_a_refusal_or_is_read(
    tmp_path, number, position, name
):
    for argument in WRONG:

        def edit(program, argument=argument):
            graph(program)["nodes"][number]["inputs"][position]["arg"] = argument

        refusal = sentence(tmp_path / "model.pt2", with_program(edit))
        assert refusal is None or refusal.code in CODES
