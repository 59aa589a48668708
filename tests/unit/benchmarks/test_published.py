"""The checks of published models find what is wrong, and nothing else."""

import json
import time

import numpy as np
import pytest
from published import by_group, line_of, summary
from support.onnx.text import model, written
from zoo.cases import exported
from zoo.check import Case, broken_promises, checked
from zoo.child import in_child
from zoo.counters import onnx_macs
from zoo.signature import signature

NETWORK = (
    "g (float[n, 4, 8, 8] x) => (float[n, 16, 8, 8] y) "
    "<float[16, 4, 3, 3] w, float[16, 16, 3, 3] v> "
    "{ h = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu(h) "
    "y = Conv <pads = [1, 1, 1, 1]> (r, v) }"
)
MACS = 64 * 16 * 9 * (4 + 16)
RIGHT = {
    "macs": 100,
    "oracle_macs": 100,
    "exported_macs": 120,
    "unaccounted": [],
    "unsettled": {},
    "difference": 1e-6,
    "rounding": None,
    "other_batch": None,
    "signature": True,
    "oracle_kept": 60,
}


def test_a_network_is_counted_replaced_and_compressed(tmp_path):
    path = written(tmp_path, NETWORK)
    row = checked(Case("network", path, "2x4x8x8"), "0.6", "none", tmp_path)
    assert row["wrong"] == []
    assert row["macs"] == row["oracle_macs"] == 2 * MACS
    assert row["replaced"] == row["sites"] == 2
    assert 0 < row["difference"] < 1e-5
    assert 0 < row["other_batch"] < 1e-5
    assert row["keep"] <= 0.6
    assert line_of(row).startswith("| network |")
    assert summary([row]).startswith("1 models: kept its budget")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, None),
        ({"macs": 120, "oracle_kept": 72}, None),
        ({"macs": 99}, "counts 99"),
        ({"macs": 99, "unaccounted": ["Attention: no rule"]}, None),
        ({"difference": 0.1}, "at full rank"),
        ({"difference": 0.1, "rounding": 0.05}, None),
        ({"difference": float("nan")}, "at full rank"),
        ({"other_batch": "the artifact does not run"}, "does not run"),
        ({"signature": False}, "declared otherwise"),
        ({"signature_at_budget": False}, "declared otherwise"),
        ({"refused": "verification_failed: the outputs differ"}, "verification_failed"),
        ({"refused": "budget_unreachable: 0.9 is the least"}, None),
        ({"oracle_kept": 61}, "keeps 61"),
    ],
)
def test_a_broken_promise_is_a_sentence(change, sentence):
    sentences = broken_promises(RIGHT | change, "0.6")
    if sentence is None:
        assert sentences == []
    else:
        [only] = sentences
        assert sentence in only


def test_groups_add_up_their_models():
    rows = [
        RIGHT
        | {
            "model": "timm/a traced",
            "sites": 3,
            "replaced": 2,
            "keep": 0.5,
            "wrong": [],
        },
        RIGHT
        | {"model": "timm/b traced", "refused": "budget_unreachable: no", "wrong": []},
        RIGHT
        | {"model": "package/c.onnx", "macs": 99, "keep": 0.5, "wrong": ["counts 99"]},
    ]
    assert by_group(rows).splitlines()[2:] == [
        "| packages | 1 | 0 | 0 | 0 | 1 |  | 1 |",
        "| timm, traced | 2 | 2 | 3 | 2 | 1 | 1 budget_unreachable | 0 |",
    ]


def test_a_local_function_is_counted_where_it_is_called(tmp_path):
    text = (
        '<ir_version: 8, opset_import: ["": 17, "own": 1]> '
        "g (float[1, 4] x) => (float[1, 5] y) <float[4, 4] w, float[4, 5] v> "
        "{ h = own.layer(x, w) y = own.layer(h, v) } "
        '<domain: "own", opset_import: ["": 17]> layer (a, b) => (c) { c = MatMul(a, b) }'
    )
    path = written(tmp_path, model(text))
    assert onnx_macs(path, {"x": np.ones((1, 4), np.float32)}) == 4 * 4 + 4 * 5


def test_a_signature_has_symbols_and_no_weights(tmp_path):
    path = written(tmp_path, NETWORK)
    assert signature(path) == ["x: 1 ['n', 4, 8, 8]", "y: 1 ['n', 16, 8, 8]"]


def test_a_child_answers_or_its_end_is_told():
    assert in_child(lambda: {"a": 1}, 60, quiet=True) == {"a": 1}
    failed = in_child(lambda: {"a": 1 / 0}, 60, quiet=True)
    assert failed["error"] == "ZeroDivisionError: division by zero"


def test_a_child_without_end_is_ended():
    def spin():
        until = time.process_time() + 30
        while time.process_time() < until:
            pass
        return {}

    assert "not done after 1 s" in in_child(spin, 1, quiet=True)["error"]


def test_the_smallest_exported_file_comes_first(tmp_path):
    (tmp_path / "exported").mkdir()
    row = {"library": "l", "architecture": "a", "macs": 5, "inputs": ["float32:1x4"]}
    lines = []
    for name, size in (("large", 9), ("small", 3)):
        (tmp_path / "exported" / name).write_bytes(bytes(size))
        lines.append(json.dumps(row | {"form": name, "file": name}))
    lines.append(json.dumps(row | {"form": "none", "error": "cannot be exported"}))
    (tmp_path / "exported.jsonl").write_text("\n".join(lines))
    assert [case.name for case in exported(tmp_path)] == ["l/a small", "l/a large"]
