"""A model is bundled with the files of its weights that lie beside it, and with no others."""

import zipfile

import numpy as np
import onnx
import pytest
from support.onnx.text import model

from convpress.bundling import bundled, weight_files
from convpress.gate.identify import identify
from worker.engine.formats import load_runner, open_model

TEXT = (
    "g (float[1, 8, 6, 6] x) => (float[1, 8, 4, 4] y) <float[8, 8, 3, 3] w> { h = Relu(x) "
    "y = Conv(h, w) }"
)


def exported(folder, location="net.onnx.data"):
    path = folder / "net.onnx"
    onnx.save(
        model(TEXT),
        path,
        save_as_external_data=True,
        location=location,
        size_threshold=0,
    )
    return path


def test_a_model_is_bundled_with_its_weights(tmp_path):
    path = exported(tmp_path)
    with bundled(path) as archive:
        with zipfile.ZipFile(archive) as packed:
            assert packed.namelist() == ["net.onnx", "net.onnx.data"]
        assert identify(archive) == "onnx"
        assert open_model("onnx", archive).parameters == 8 * 8 * 9
    assert not archive.exists()


def test_a_bundle_is_saved_as_one_file_where_that_is_asked_for(tmp_path):
    with bundled(exported(tmp_path)) as archive:
        open_model("onnx", archive).save(tmp_path / "one.onnx")
        open_model("onnx", archive).save(tmp_path / "two.zip")
    assert zipfile.is_zipfile(tmp_path / "two.zip")
    x = {"x": np.ones((1, 8, 6, 6), np.float32)}
    single = onnx.load(tmp_path / "one.onnx", load_external_data=False)
    assert [tensor.data_location for tensor in single.graph.initializer] == [0]
    assert np.isfinite(load_runner("onnx", tmp_path / "one.onnx")(x)["y"]).all()


def test_a_model_that_holds_its_weights_is_itself(tmp_path):
    onnx.save(model(TEXT), tmp_path / "net.onnx")
    with bundled(tmp_path / "net.onnx") as path:
        assert path == tmp_path / "net.onnx"


def test_weights_in_bodies_are_found(tmp_path):
    path = tmp_path / "net.onnx"
    proto = model("g (float[2] x, bool c) => (float[2] y) { y = Neg(x) }")
    branch = model("b () => (float[2] z) <float[2] w> { z = Relu(w) }").graph
    onnx.external_data_helper.set_external_data(
        branch.initializer[0], "branch.data", 0, 8
    )
    branch.initializer[0].ClearField("raw_data")
    proto.graph.node.append(
        onnx.helper.make_node(
            "If", ["c"], ["u"], then_branch=branch, else_branch=branch
        )
    )
    path.write_bytes(proto.SerializeToString())
    (tmp_path / "branch.data").write_bytes(bytes(8))
    assert weight_files(path) == ["branch.data"]


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "sub/w", "missing"])
def test_files_elsewhere_are_not_taken(tmp_path, location):
    (tmp_path / "secret").write_bytes(bytes(3000))
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "w").write_bytes(bytes(3000))
    path = exported(tmp_path / "in")
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        entry.value = location if entry.key == "location" else entry.value
    path.write_bytes(proto.SerializeToString())
    assert weight_files(path) == []


def test_a_link_is_taken_only_to_where_the_model_is_linked_too(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "blobs").mkdir()
    path = exported(tmp_path / "in")
    data = tmp_path / "in" / "net.onnx.data"
    data.rename(tmp_path / "blobs" / "data")
    data.symlink_to(tmp_path / "blobs" / "data")
    assert weight_files(path) == []
    path.rename(tmp_path / "blobs" / "model")
    path.symlink_to(tmp_path / "blobs" / "model")
    assert weight_files(path) == ["net.onnx.data"]


@pytest.mark.parametrize(
    "content", [b"", b"PK\3\4", b"\x3a\xff\xff\xff\xff\x0f", bytes(9)]
)
def test_other_files_are_themselves(tmp_path, content):
    (tmp_path / "any").write_bytes(content)
    assert weight_files(tmp_path / "any") == []
