"""Versions of torch: those that were tried are read, others are named, with what to do."""

import pytest
from support.pt2.archives import with_program

from convpress.gate.check import require_safe
from convpress.gate.pt2.versions import require_known_version
from convpress.limits import Limits
from convpress.refusal import Refusal

SCHEMA = {"major": 8, "minor": 14}


@pytest.mark.parametrize(
    "version", ["2.9.0", "2.10.1+cu128", "2.13.0+cpu", "2.14.1", "2.14.0a0+git"]
)
def test_versions_that_were_tried_are_known(version):
    program = {"torch_version": version, "schema_version": SCHEMA}
    assert require_known_version(program) == ((8, 14), version)


@pytest.mark.parametrize(
    "version",
    [
        "2.8.0",
        "2.15.0",
        "3.0.0",
        "1.13",
        "<=2.4",
        "",
        "2",
        2.13,
        "2.13\n",
        "9" * 999,
    ],
)
def test_other_versions_are_named(tmp_path, version):
    path = tmp_path / "model"
    path.write_bytes(
        with_program(lambda program: program.update(torch_version=version))
    )
    with pytest.raises(Refusal, match=r"written by torch .*: export") as refusal:
        require_safe(path, "pt2", Limits())
    assert refusal.value.code == "model_unsupported"
    assert "torch 2.9 to 2.14" in refusal.value.expected


@pytest.mark.parametrize(
    "schema",
    [
        {"major": 7, "minor": 1},
        {"major": 9, "minor": 0},
        {"major": 8},
        {},
        None,
        [8, 1],
        "8",
    ],
)
def test_other_schemas_are_named(schema):
    program = {"torch_version": "2.13.0", "schema_version": schema}
    with pytest.raises(Refusal, match="the schema version") as refusal:
        require_known_version(program)
    assert refusal.value.code == "model_unsupported"


def test_a_program_without_a_version_is_refused(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(with_program(lambda program: program.pop("torch_version")))
    with pytest.raises(Refusal, match="does not say which torch wrote it"):
        require_safe(path, "pt2", Limits())
