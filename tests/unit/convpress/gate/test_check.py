"""The first wall lets honest models pass, whatever made them, and ends on anything else with a
refusal.
"""

import time
import zipfile
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convpress.gate.check import require_safe
from convpress.gate.identify import identify
from convpress.limits import Limits
from convpress.refusal import Refusal

MODELS = Path(__file__).parents[3] / "models"
SAMPLES = sorted(MODELS.glob("*.onnx")) + sorted(MODELS.glob("*.pt"))
PUBLISHED = sorted(
    (Path(onnx.__file__).parent / "backend" / "test" / "data").rglob("*.onnx")
)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_sample_models_pass(path):
    require_safe(path, identify(path), Limits())


def test_every_model_that_comes_with_onnx_passes():
    assert len(PUBLISHED) > 100
    for path in PUBLISHED:
        require_safe(path, "onnx", Limits())


def test_a_large_model_costs_little(tmp_path):
    path = tmp_path / "large.onnx"
    weight = onnx.helper.make_tensor(
        "w",
        onnx.TensorProto.FLOAT,
        [64, 1024, 512],
        bytes(4 * 64 * 1024 * 512),
        raw=True,
    )
    graph = onnx.helper.make_graph([], "large", [], [], [weight])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())

    def seconds():
        started = time.process_time()
        require_safe(path, "onnx", Limits())
        return time.process_time() - started

    assert (
        min(seconds() for _ in range(5)) < 0.1
    )  # the least, since the machine may be busy


CONTENTS = {
    path.name: path.read_bytes()
    for path in SAMPLES
    if path.name in ("plain.onnx", "plain.traced.pt")
}


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=150,
)
@given(
    st.sampled_from(sorted(CONTENTS)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8)), max_size=5),
)
def test_any_damage_is_let_in_or_refused(tmp_path, name, damage):
    content = bytearray(CONTENTS[name])
    for where, what in damage:
        at = int(where * len(content))
        content[at : at + len(what)] = what
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with suppress(Refusal):
        require_safe(
            path, "onnx" if name.endswith(".onnx") else "torchscript", Limits()
        )


def test_limits_are_what_decides():
    for tight, name in [
        (Limits(nodes=3), "plain.onnx"),
        (Limits(tensors=3), "plain.onnx"),
        (Limits(fields=30), "plain.onnx"),
        (Limits(tensor_bytes=1000), "plain.onnx"),
        (Limits(members=3), "plain.traced.pt"),
        (Limits(pickle_bytes=300), "plain.traced.pt"),
        (Limits(pickle_steps=30), "plain.traced.pt"),
        (Limits(source_tokens=30), "plain.traced.pt"),
        (Limits(nesting=1), "plain.traced.pt"),
    ]:
        path = MODELS / name
        with pytest.raises(Refusal) as refusal:
            require_safe(path, identify(path), tight)
        assert refusal.value.code == "model_over_limit", tight


def test_the_format_that_is_not_wanted_is_refused():
    with pytest.raises(Refusal, match="onnx, not torchscript"):
        require_safe(MODELS / "plain.onnx", "torchscript", Limits())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("location", "size", "code"),
    [
        ("weights.bin", 36 * 4, None),
        ("./weights.bin", 36 * 4, None),
        ("weights.bin", 36 * 4 - 1, "model_invalid"),
        ("other.bin", 36 * 4, "model_unsupported"),
        ("../../etc/passwd", 36 * 4, "model_unsafe"),
    ],
)
def test_a_bundle_may_refer_to_its_own_files_alone(
    tmp_path, method, location, size, code
):
    weight = onnx.TensorProto(name="w", dims=[4, 1, 3, 3], data_type=1, data_location=1)
    weight.external_data.add(key="location", value=location)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [weight]))
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("net/model.onnx", model.SerializeToString())
        archive.writestr("net/weights.bin", bytes(range(size)))
    if code is None:
        require_safe(path, "onnx", Limits())
        return
    with pytest.raises(Refusal) as refusal:
        require_safe(path, "onnx", Limits())
    assert refusal.value.code == code
