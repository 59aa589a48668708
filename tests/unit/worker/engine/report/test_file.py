"""The file of a report."""

import json

import pytest

from convpress.report import LONGEST_TEXT
from worker.engine.report import file


def test_texts_of_a_model_are_cut_wherever_they_are(tmp_path):
    long = "x" * (LONGEST_TEXT + 1)
    path = tmp_path / "report.json"
    file.write(str(path), {"a": [long, 1, None], "b": {long: {"c": long[:-1]}}})
    members = json.loads(path.read_text())
    cut = long[: LONGEST_TEXT - 1] + "…"
    assert members == {"a": [cut, 1, None], "b": {cut: {"c": long[:-1]}}}


def test_what_is_no_number_in_json_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        file.write(str(tmp_path / "report.json"), {"a": float("nan")})
