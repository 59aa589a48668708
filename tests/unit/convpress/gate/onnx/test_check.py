"""The check of an ONNX file ends soon, and refuses lists and names without measure."""

import time

import pytest
from corpus import corpus

from convpress.gate.onnx.check import require_safe_onnx
from convpress.limits import Limits
from convpress.refusal import Refusal

REFUSED = {
    "attribute-of-countless-numbers": "has 900000 values",
    "attribute-of-countless-texts": "has 300000 values",
    "name-of-giant-length": "has 5000000 bytes",
    "graphs-that-read-countless-names": "too many names from outside",
    "tensor-of-countless-sizes-in-fields": "more axes",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    return {file.name: file for file in corpus(outside) if file.kind == "onnx"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_measure_is_refused_soon(tmp_path, files, name):
    path = tmp_path / "model.onnx"
    path.write_bytes(files[name].content)
    started = time.process_time()
    with pytest.raises(Refusal, match=REFUSED[name]):
        require_safe_onnx(path, Limits())
    assert time.process_time() - started < 10


def test_the_number_of_values_is_a_setting(tmp_path, files):
    path = tmp_path / "model.onnx"
    path.write_bytes(files["convolution-with-giant-padding"].content)
    require_safe_onnx(path, Limits())
    with pytest.raises(Refusal, match="has 60000 values"):
        require_safe_onnx(path, Limits(attribute_values=50_000))
