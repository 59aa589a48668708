"""A format that stores no shapes needs the field, and the refusal names what the file suggests."""

import json
import zipfile

import pytest

from convpress.gate.required_shape import require_shape
from convpress.refusal import Code, Refusal


def test_a_shape_is_required_where_the_format_stores_none(tmp_path):
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/extra/config.txt", json.dumps({"imgsz": [640, 480]}))
    with pytest.raises(Refusal) as refused:
        require_shape("torchscript", None, path)
    assert refused.value.code == Code.INPUT_SHAPE_REQUIRED
    assert refused.value.field == "input_shape"
    assert refused.value.expected == "1x3x640x480"
    assert refused.value.detail.endswith("its notes suggest input_shape=1x3x640x480")


def test_without_the_file_no_shape_is_suggested():
    with pytest.raises(Refusal) as refused:
        require_shape("torchscript", None)
    assert "suggest" not in refused.value.detail


@pytest.mark.parametrize(
    ("name", "shape"), [("torchscript", "1x3x8x8"), ("onnx", None)]
)
def test_other_models_pass(name, shape):
    require_shape(name, shape)
