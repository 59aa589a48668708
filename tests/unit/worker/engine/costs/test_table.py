"""What a cost table says of a layer, and what is no table."""

import hashlib
import json
from dataclasses import replace

import pytest
from support.costs import cost_table, written

from convpress.refusal import Code, Refusal
from worker.engine.costs.table import Grid, kind_of, read
from worker.engine.numerics.convolution import Convolution


def layer(inputs, outputs, kernel=(3, 3), groups=1, **changes):
    ones = (1,) * len(kernel)
    padding = tuple((size // 2, size // 2) for size in kernel)
    convolution = Convolution((outputs, inputs // groups, *kernel), ones, padding, ones, groups)
    return replace(convolution, **changes)


def test_between_its_points_a_grid_is_linear_in_the_logarithms():
    grid = Grid((4, 16), (8,), (1, 16), (((2.0, 4.0),), ((6.0, None),)))
    assert grid.rate(4, 8, 1) == grid.rate(1, 99, 1) == 2.0
    assert grid.rate(8, 8, 1) == 4.0
    assert grid.rate(4, 8, 4) == 3.0
    assert grid.rate(4, 8, 999) == 4.0
    assert grid.rate(16, 8, 16) == 6.0  # where nothing was measured the next fewer positions hold


@pytest.mark.parametrize(
    ("convolution", "kind"),
    [
        (layer(8, 8), "3x3"),
        (layer(8, 8, (1, 1)), "1x1"),
        (layer(8, 8, (1, 7)), "1x3"),
        (layer(8, 8, (5, 4)), "5x5"),
        (layer(8, 8, (11, 11)), "7x7"),
        (layer(6, 8), "ragged 3x3"),
        (layer(3, 8, (1, 1)), "ragged 1x1"),
        (layer(8, 8, groups=2), "grouped 3x3"),
        (layer(8, 16, groups=8), "depthwise 3x3"),
        (layer(8, 8, ()), "linear"),
        (layer(8, 8, (3,)), None),
        (layer(8, 8, (3, 3, 3)), None),
        (layer(8, 8, transposed=True, output_padding=(0, 0)), None),
    ],
)
def test_kinds(convolution, kind):
    assert kind_of(convolution) == kind


def test_a_layer_takes_what_its_arithmetic_takes_in_whole_blocks_and_its_own_share():
    table = cost_table(layer_ns=50.0)
    assert table.nanoseconds(layer(8, 8), (10, 10)) == 8 * 8 * 9 * 100 + 50
    assert table.nanoseconds(layer(8, 5), (10, 10), batch=2) == 2 * 8 * 8 * 9 * 100 + 50
    assert table.nanoseconds(layer(8, 8, stride=(2, 2)), (10, 10)) == 8 * 8 * 9 * 25 + 50
    assert table.nanoseconds(layer(8, 8, (3,)), (10,)) is None


def test_a_chain_costs_what_its_layers_do_at_the_sizes_that_they_see():
    table = cost_table()
    first = layer(8, 8, stride=(2, 2))
    second = layer(8, 16)
    apart = table.nanoseconds(first, (10, 10)) + table.nanoseconds(second, (5, 5))
    assert table.summed([first, second], 1, (10, 10)) == apart
    assert table.summed([first, layer(8, 8, (3,))], 1, (10, 10)) is None


def test_a_table_is_read_as_it_was_written(tmp_path):
    path = written(tmp_path, depthwise_3x3=7.5)
    table = read(path, "onnx")
    assert table == cost_table(depthwise_3x3=7.5)
    assert table.digest == hashlib.sha256(path.read_bytes()).hexdigest() != cost_table().digest


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda table: table.update(version=2), "version 2"),
        (lambda table: table.update(format="caffe"), "caffe"),
        (lambda table: table.update(layer_ns="fast"), "no time"),
        (lambda table: table.update(layer_ns=-1), "no time"),
        (lambda table: table.pop("grids"), "grids"),
        (lambda table: table["grids"]["3x3"].update(inputs=[]), "inputs of 3x3"),
        (lambda table: table["grids"]["3x3"].update(inputs=[8, 4]), "ascend"),
        (lambda table: table["grids"]["3x3"].update(inputs=[True]), "ascend"),
        (lambda table: table["grids"]["3x3"].update(positions=[1, 2]), "shape"),
        (lambda table: table["grids"]["3x3"].update(ns_per_mac=[[[None]]]), "fewest positions"),
        (lambda table: table["grids"]["3x3"].update(ns_per_mac=[[[0]]]), "no time"),
        (lambda table: table["grids"]["3x3"].update(ns_per_mac=[[[float("nan")]]]), "no time"),
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


def test_a_table_of_the_other_runtime_is_refused(tmp_path):
    with pytest.raises(Refusal, match="one for torchscript"):
        read(written(tmp_path, model_format="torchscript"), "onnx")


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Refusal, match="does not exist"):
        read(tmp_path / "none.json", "onnx")
