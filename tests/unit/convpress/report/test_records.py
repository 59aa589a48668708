"""The report's records: filled without pydantic, and read strictly."""

import json
import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from convpress.report import Inspection, Tensor

MEMBERS = {
    "account_complete": True,
    "unaccounted": [],
    "restored": None,
    "sized_by_values": None,
    "format": "onnx",
    "inputs": [{"name": "x", "dtype": "float32", "shape": "1x3"}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": None}],
    "parameters": 12,
    "bytes": 100,
    "macs": 9,
    "courses": [9],
    "sites": [],
    "uncounted": {"Relu": 1},
    "missing": None,
}


def test_a_record_gives_back_the_members_that_it_was_read_from():
    record = Inspection.model_validate(MEMBERS)
    assert record.inputs == [Tensor(name="x", dtype="float32", shape="1x3")]
    assert record.model_dump() == MEMBERS
    assert json.loads(record.model_dump_json(indent=1)) == MEMBERS
    assert Inspection.model_validate_json(json.dumps(MEMBERS)) == record


@pytest.mark.parametrize(
    "change",
    [
        {"macs": -1},
        {"macs": "9"},
        {"macs": 9.0},
        {"macs": True},
        {"macs": 2**63},
        {"uncounted": {"Relu": -1}},
        {"inputs": [{"name": "x"}]},
        {"sites": None},
    ],
)
def test_nothing_is_converted_and_nothing_beyond_the_limits_is_read(change):
    with pytest.raises(ValidationError):
        Inspection.model_validate(MEMBERS | change)


def test_a_missing_member_without_a_default_is_refused():
    with pytest.raises(ValidationError):
        Inspection.model_validate(
            {key: MEMBERS[key] for key in MEMBERS if key != "bytes"}
        )
    without_courses = {key: MEMBERS[key] for key in MEMBERS if key != "courses"}
    assert Inspection.model_validate(without_courses).courses == []


def test_members_of_a_later_version_are_ignored():
    assert Inspection.model_validate(MEMBERS | {"later": 1}).model_dump() == MEMBERS


def test_the_schema_of_an_inspection_has_its_limits():
    schema = TypeAdapter(Inspection).json_schema()
    assert schema["properties"]["bytes"] == {
        "maximum": 2**63 - 1,
        "minimum": 0,
        "title": "Bytes",
        "type": "integer",
    }


def test_the_engine_fills_records_without_pydantic_or_torch():
    code = "import sys, worker.engine.pipeline; print({'pydantic', 'torch'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
