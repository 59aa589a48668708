"""Bundles: a model with the files that hold its weights goes in, and comes out again, in one
archive.
"""

import io
import tarfile
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.engine.chains import split_exactly
from support.onnx.text import distance, model, outputs

from convpress.gate import bundle
from convpress.gate.check import require_safe
from convpress.gate.identify import identify
from convpress.limits import Limits
from convpress.refusal import Refusal
from worker.engine.formats import load_runner, open_model, readable

X = {"x": np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)}
NETWORK = """g (float[1, 3, 16, 16] x, bool c) => (float[1, 10] y)
    <float[16, 3, 3, 3] w, float[16] b, float[32, 16, 3, 3] v, float[10, 32] f> {
        s = Conv(x, w, b)  t = Conv <strides = [2, 2]> (s, v)  p = GlobalAveragePool(t)
        q = Flatten(p)
        r = If (c) <
            then_branch = yes () => (float[1, 32] o) <float[1, 32] n = {0}> { o = Sub(q, n) },
            else_branch = no () => (float[1, 32] e) { e = Neg(q) }>
        y = Gemm <transB = 1> (r, f) }"""


def network():
    proto = model(NETWORK)
    branch = proto.graph.node[4].attribute[0].g
    del branch.initializer[:]
    branch.initializer.append(
        numpy_helper.from_array(np.full((1, 32), 0.25, np.float32), "n")
    )
    return proto


def saved(folder, proto, **options):
    folder.mkdir()
    options = {
        "all_tensors_to_one_file": True,
        "location": "weights.bin",
        "size_threshold": 0,
    } | options
    onnx.save(proto, folder / "net.onnx", save_as_external_data=True, **options)
    return folder


def packed(path, folder, below="", compression=zipfile.ZIP_STORED, more=()):
    files = {
        below + file.name: file.read_bytes() for file in sorted(folder.iterdir())
    } | dict(more)
    if path.suffix == ".tar":
        with tarfile.open(path, "w") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    else:
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    return path


def unpacked(path, folder):
    if path.suffix == ".tar":
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    else:
        zipfile.ZipFile(path).extractall(folder)
    return folder


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("below", ["", "export/v1/"], ids=["flat", "in a folder"])
@pytest.mark.parametrize("one_file", [True, False], ids=["one file", "a file each"])
def test_a_bundle_goes_through_and_comes_out_as_one(tmp_path, suffix, below, one_file):
    folder = saved(tmp_path / "in", network(), all_tensors_to_one_file=one_file)
    path = packed(
        tmp_path / f"net{suffix}", folder, below, more=[("labels.txt", b"cat\ndog\n")]
    )
    inputs = {**X, "c": np.array(True)}
    (expected,) = outputs(folder / "net.onnx", inputs)
    assert identify(path) == "onnx"
    assert distance(load_runner("onnx", path)(inputs)["y"], expected) <= 1e-6

    opened = open_model("onnx", path)
    for site in opened.count(opened.bind(None)).sites:
        assert site.reason is None
        opened.replace(site, split_exactly(opened.layer(site)))
    target = tmp_path / f"out{suffix}"
    opened.save(target)
    assert bundle.kind_of(target) == suffix[1:]
    assert distance(load_runner("onnx", target)(inputs)["y"], expected) <= 1e-5

    out = unpacked(target, tmp_path / "out")
    assert (out / "labels.txt").read_bytes() == b"cat\ndog\n"
    onnx.checker.check_model(str(out / below / "net.onnx"), full_check=True)
    (actual,) = outputs(out / below / "net.onnx", inputs)
    assert distance(actual, expected) <= 1e-5
    weights = [
        file
        for file in (out / below).iterdir()
        if file.name != "net.onnx" and file.name != "labels.txt"
    ]
    assert len(weights) == 1
    if one_file:
        assert weights[0].name == "weights.bin"
    assert (out / below / "net.onnx").stat().st_size < 10_000
    again = open_model("onnx", target)
    assert again.parameters == opened.parameters


def test_an_unedited_bundle_keeps_every_weight(tmp_path):
    proto = network()
    path = packed(tmp_path / "net.zip", saved(tmp_path / "in", proto))
    open_model("onnx", path).save(tmp_path / "out.zip")
    again = onnx.load(unpacked(tmp_path / "out.zip", tmp_path / "out") / "net.onnx")
    before = onnx.load(tmp_path / "in" / "net.onnx")
    for proto in (before, again):
        for tensor in (
            *proto.graph.initializer,
            *proto.graph.node[4].attribute[0].g.initializer,
        ):
            # loading says of some that their data is where it is by default
            tensor.ClearField("data_location")
    assert again == before


def test_the_same_bundle_gives_the_same_bytes(tmp_path):
    path = packed(tmp_path / "net.zip", saved(tmp_path / "in", network()))
    for name in ("a.zip", "b.zip"):
        open_model("onnx", path).save(tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_bundle_of_one_file_is_a_model_too(tmp_path):
    (tmp_path / "in").mkdir()
    onnx.save(network(), tmp_path / "in" / "net.onnx")
    path = packed(tmp_path / "net.tar", tmp_path / "in")
    inputs = {**X, "c": np.array(False)}
    (expected,) = outputs(tmp_path / "in" / "net.onnx", inputs)
    assert distance(load_runner("onnx", path)(inputs)["y"], expected) <= 1e-6
    open_model("onnx", path).save(tmp_path / "out.tar")
    (actual,) = outputs(
        unpacked(tmp_path / "out.tar", tmp_path / "out") / "net.onnx", inputs
    )
    assert distance(actual, expected) <= 1e-6


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_a_file_manager_adds_is_no_part_of_the_bundle(tmp_path, compression):
    litter = dict.fromkeys(
        ["__MACOSX/._net.onnx", "._weights.bin", ".DS_Store"], b"\0\5\26\7"
    )
    folder = saved(tmp_path / "in", network())
    path = packed(
        tmp_path / "net.zip", folder, compression=compression, more=litter.items()
    )
    require_safe(path, "onnx", Limits())
    inputs = {**X, "c": np.array(True)}
    (expected,) = outputs(folder / "net.onnx", inputs)
    with readable("onnx", path) as file:
        assert distance(load_runner("onnx", file)(inputs)["y"], expected) <= 1e-6
        open_model("onnx", file).save(tmp_path / "out.zip")
    assert zipfile.ZipFile(tmp_path / "out.zip").namelist() == [
        "net.onnx",
        "weights.bin",
    ]


def test_a_compressed_bundle_is_read_from_a_copy_that_goes_again(tmp_path):
    path = packed(
        tmp_path / "net.zip",
        saved(tmp_path / "in", network()),
        compression=zipfile.ZIP_DEFLATED,
    )
    inputs = {**X, "c": np.array(True)}
    (expected,) = outputs(tmp_path / "in" / "net.onnx", inputs)
    with readable("onnx", path) as file:
        assert file != path
        assert distance(load_runner("onnx", file)(inputs)["y"], expected) <= 1e-6
        open_model("onnx", file).save(tmp_path / "out.zip")
    assert not file.exists()
    with readable("onnx", tmp_path / "out.zip") as file:
        assert file == tmp_path / "out.zip"


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../weights.bin", "other.bin", "", "./../in/weights.bin"],
)
@pytest.mark.parametrize("place", ["initializer", "branch", "function"])
def test_a_location_means_a_file_of_the_bundle_and_nothing_else(
    tmp_path, location, place
):
    proto = network()
    hidden = helper.make_tensor("h", TensorProto.FLOAT, [2], [1.0, 2.0])
    hidden.ClearField("float_data")
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value=location)
    if place == "initializer":
        proto.graph.initializer.append(hidden)
    elif place == "branch":
        proto.graph.node[4].attribute[0].g.initializer.append(hidden)
    else:
        node = helper.make_node("Constant", [], ["h"], value=hidden)
        proto.functions.append(
            helper.make_function(
                "acme", "f", [], ["h"], [node], [helper.make_opsetid("", 17)]
            )
        )
    (tmp_path / "in").mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(64))
    (tmp_path / "in" / "net.onnx").write_bytes(proto.SerializeToString())
    path = packed(tmp_path / "net.zip", tmp_path / "in")
    with pytest.raises(Refusal, match="was not uploaded") as refused:
        open_model("onnx", path)
    assert refused.value.code == "model_unsupported"


@pytest.mark.parametrize(
    ("offset", "length"),
    [("8", "8"), ("-4", "8"), ("0", "-8"), ("x", "8"), ("4096", None)],
)
def test_an_extent_beyond_its_file_is_refused(tmp_path, offset, length):
    proto = model("g (float[2] x) => (float[2] y) { y = Add(x, w) }")
    tensor = proto.graph.initializer.add(
        name="w", data_type=TensorProto.FLOAT, dims=[2]
    )
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": "weights.bin", "offset": offset, "length": length}
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "net.onnx").write_bytes(proto.SerializeToString())
    (tmp_path / "in" / "weights.bin").write_bytes(bytes(12))
    with pytest.raises(Refusal) as refused:
        open_model(
            "onnx",
            packed(
                tmp_path / "net.zip", tmp_path / "in", more=[("last.bin", bytes(64))]
            ),
        )
    assert refused.value.code == "model_invalid"


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_a_bundle_of_more_than_two_gigabytes_goes_through(tmp_path, suffix):
    """The weights are zeros that no disk holds: two matrices of 1.2 GB, of which one convolution is
    replaced.
    """
    side = 17_500
    proto = model(f"""g (float[1, 3, 8, 8] x) => (float[1, {side}] y) <float[16, 3, 3, 3] w> {{
        t = Conv(x, w)  a = ReduceMean(t)  f = Flatten(a)  m = MatMul(f, u)  n = MatMul(m, v)
        y = MatMul(n, o) }}""")
    extents = {"u": (1, side), "v": (side, side), "o": (side, side)}
    at = 0
    for name, dims in extents.items():
        tensor = proto.graph.initializer.add(
            name=name, data_type=TensorProto.FLOAT, dims=dims
        )
        size = 4 * dims[0] * dims[1]
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", "weights.bin"),
            ("offset", str(at)),
            ("length", str(size)),
        ):
            tensor.external_data.add(key=key, value=value)
        at += size
    weights = tmp_path / "weights.bin"
    with weights.open("wb") as file:
        file.truncate(at)
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    path = tmp_path / f"net{suffix}"
    if suffix == ".tar":
        with tarfile.open(path, "w") as archive:
            archive.add(tmp_path / "net.onnx", "net.onnx")
            archive.add(weights, "weights.bin")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(tmp_path / "net.onnx", "net.onnx")
            archive.write(weights, "weights.bin")
    weights.unlink()
    opened = open_model("onnx", path)
    site = opened.count(opened.bind(None)).sites[0]
    opened.replace(site, split_exactly(opened.layer(site)))
    opened.save(tmp_path / f"out{suffix}")
    assert (tmp_path / f"out{suffix}").stat().st_size > 2 << 30
    assert open_model("onnx", tmp_path / f"out{suffix}").parameters > 2 * side * side
