"""Each format's record is consistent, and only names of formats are formats."""

import pytest

from convpress.formats import EXPECTED, FORMATS, named, shapeless_suffixes


@pytest.mark.parametrize("name", FORMATS)
def test_a_record_is_filed_under_its_name_and_agrees_with_itself(name):
    spec = FORMATS[name]
    assert spec.name == name
    assert spec.runtime in spec.packages
    assert spec.suffix in spec.upload_suffixes
    assert spec.noun in EXPECTED


def test_suffixes_tell_formats_apart():
    suffixes = [suffix for spec in FORMATS.values() for suffix in spec.upload_suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert set(shapeless_suffixes()) == set(FORMATS["torchscript"].upload_suffixes)


def test_a_name_that_is_no_format_is_refused_with_those_that_are():
    with pytest.raises(
        ValueError, match="'keras', expected one of onnx, torchscript, pt2"
    ):
        named("keras")
