"""The file of a cost table: read as it was written, and what is no table."""

import hashlib
import json
from dataclasses import replace

import pytest
from support.engine.costs import cost_table, written

from convpress.refusal import Code, Refusal
from worker.engine.costs.table_file import read


def test_a_table_is_read_as_it_was_written(tmp_path):
    path = written(tmp_path, depthwise_3x3=7.5)
    table = read(path, "onnx")
    assert table == cost_table(depthwise_3x3=7.5)
    assert (
        table.digest
        == hashlib.sha256(path.read_bytes()).hexdigest()
        != cost_table().digest
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda table: table.update(version=2), "version 2"),
        (lambda table: table.update(format="caffe"), "caffe"),
        (lambda table: table.update(layer_ns="fast"), "no time"),
        (lambda table: table.update(layer_ns=-1), "no time"),
        (lambda table: table.pop("grids"), "grids"),
        (lambda table: table.update(cold_ns_per_byte=-1), "no time"),
        (lambda table: table.update(cold_ns_per_byte="slow"), "no time"),
        (lambda table: table.update(block=0), "block 0"),
        (lambda table: table.update(block=True), "block True"),
        (lambda table: table["grids"]["3x3"].update(inputs=[]), "inputs of 3x3"),
        (lambda table: table["grids"]["3x3"].update(inputs=[8, 4]), "ascend"),
        (lambda table: table["grids"]["3x3"].update(inputs=[True]), "ascend"),
        (lambda table: table["grids"]["3x3"].update(positions=[1, 2]), "shape"),
        (
            lambda table: table["grids"]["3x3"].update(ns_per_mac=[[[None]]]),
            "fewest positions",
        ),
        (lambda table: table["grids"]["3x3"].update(ns_per_mac=[[[0]]]), "no time"),
        (
            lambda table: table["grids"]["3x3"].update(ns_per_mac=[[[float("nan")]]]),
            "no time",
        ),
        (lambda table: table["grids"]["3x3"].update(ns_per_mac=5), "TypeError"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, change, fault):
    path = written(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(Refusal, match=fault) as caught:
        read(path, "onnx")
    assert caught.value.code == Code.COST_TABLE_INVALID
    assert caught.value.field == "cost_table"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000])
def test_files_of_other_things_are_refused(tmp_path, content):
    (tmp_path / "costs.json").write_bytes(content)
    with pytest.raises(Refusal, match="no cost table"):
        read(tmp_path / "costs.json", "onnx")


def test_a_table_of_an_earlier_version_is_one_of_blocks_of_eight(tmp_path):
    path = written(tmp_path)
    content = json.loads(path.read_text())
    del content["block"]
    path.write_text(json.dumps(content))
    assert read(path, "onnx").block == 8


def test_a_table_that_knows_what_cold_weights_take_is_read_with_it(tmp_path):
    path = tmp_path / "costs.json"
    table = replace(cost_table(), cold_ns_per_byte=0.25)
    table.write(path)
    assert read(path, "onnx") == table
    assert table.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    # a table of an earlier version does not have it
    assert "cold_ns_per_byte" not in written(tmp_path).read_text()


def test_formats_of_one_runtime_share_a_table(tmp_path):
    table = read(written(tmp_path, model_format="torchscript"), "pt2")
    assert (table.format, table.host) == ("pt2", "a host")


def test_a_table_of_the_other_runtime_is_refused(tmp_path):
    with pytest.raises(Refusal, match="one for torchscript"):
        read(written(tmp_path, model_format="torchscript"), "onnx")


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Refusal, match="does not exist"):
        read(tmp_path / "none.json", "onnx")
