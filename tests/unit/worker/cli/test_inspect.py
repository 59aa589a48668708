"""The command that shows a model: tables, or the JSON of the engine as it is."""

import pytest

from convpress.report import Inspection
from worker import offline

INSPECTION = {
    "format": "onnx",
    "inputs": [{"name": "x", "dtype": "float32", "shape": None}],
    "outputs": [],
    "parameters": 10,
    "bytes": 50,
    "macs": None,
    "sites": [],
    "uncounted": {},
    "missing": "the sizes of x",
}


@pytest.fixture
def engine(monkeypatch):
    """Let the engine return an inspection."""

    def answer(**members):
        record = Inspection.model_validate(INSPECTION | members)
        monkeypatch.setattr(offline, "inspect", lambda *_: (' {"as": "it is"}', record))

    return answer


def test_json_is_printed_as_the_engine_wrote_it(run, model, engine):
    engine()
    assert run("inspect", model, "--json").stdout == ' {"as": "it is"}\n'


def test_an_unknown_cost_names_what_is_missing(run, model, engine):
    engine()
    text = run("inspect", model).stdout
    assert "Not all of the cost is known: the sizes of x." in text
    assert "--input-shape" in text
    assert "calls" not in text


def test_a_known_cost_is_a_table_of_layers(run, model, engine):
    engine(macs=7, missing=None)
    text = run("inspect", model).stdout
    assert "calls" in text
    assert "Not all" not in text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (offline.RefusedError({"code": "model_invalid", "detail": "no"}), 1),
        (offline.LostError("it died"), 3),
    ],
)
def test_an_engine_that_does_not_answer_ends_the_command(
    run, model, monkeypatch, error, status
):
    def inspect(*_):
        raise error

    monkeypatch.setattr(offline, "inspect", inspect)
    assert run("inspect", model).exit_code == status
