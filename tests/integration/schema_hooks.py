"""Values for schemathesis that no schema can describe: models, samples, cursors and idempotency
keys.

Without them, requests that are valid by the schema would be refused.
"""

import base64
import io
import re
import uuid
from datetime import datetime
from pathlib import Path

import numpy as np
import requests
import schemathesis
from hypothesis import strategies as st

MODELS = Path(__file__).parents[1] / "models"

_PATHS = sorted(path for path in MODELS.iterdir() if path.suffix in (".onnx", ".pt"))
_PREFIXES = st.sampled_from(["", "k", "M", " G", "T"])
_UNITS = {"flops": "FLOPs", "params": "params", "bytes": "B"}
_NUMBER = st.decimals(1, 9999, places=2).map(str)
_FRACTION = st.decimals("0.0001", 1, places=4).map(str) | st.decimals(
    "0.01", 100, places=2
).map("{}%".format)
_SHAPE = st.lists(st.integers(1, 10**6), min_size=1, max_size=16).map(
    lambda sizes: "x".join(map(str, sizes))
)
_NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", fullmatch=True)
_VALUE = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters=","), max_size=128
)
_2000 = datetime(2000, 1, 1)
_REAL = st.floats(-1e9, 1e9).map(str)


def _samples() -> bytes:
    content = io.BytesIO()
    np.savez(content, x=np.zeros((4, 1, 8, 8), np.float32))
    return content.getvalue()


def _evaluation() -> bytes:
    content = io.BytesIO()
    np.savez(content, x=np.zeros((4, 1, 8, 8), np.float32), labels=np.arange(4))
    return content.getvalue()


def _amounts(unit: str) -> st.SearchStrategy[str]:
    return st.builds("{}{}{}".format, _NUMBER, _PREFIXES, st.just(unit))


def _pairs(values: st.SearchStrategy[str], least: int = 1) -> st.SearchStrategy[str]:
    pairs = st.dictionaries(_NAME, values, min_size=least, max_size=4).map(dict.items)
    return pairs.map(lambda pairs: ",".join(f"{name}={value}" for name, value in pairs))


FORMATS = {
    "model": st.sampled_from([path.name for path in _PATHS]),
    "samples": st.just("samples.npz"),
    "evaluation": st.just("evaluation.npz"),
    "max_loss": st.decimals(0, 100, places=2).map("{}%".format),
    "model_uri": st.sampled_from([path.as_uri() for path in _PATHS]),
    **{f"{kind}_budget": _FRACTION | _amounts(unit) for kind, unit in _UNITS.items()},
    "latency_budget": _FRACTION
    | st.builds("{}{}".format, _NUMBER, st.sampled_from(["ns", "us", "ms", " s"])),
    "threads": st.integers(1, 64).map(str),
    "input_shape": _SHAPE | _pairs(_SHAPE),
    "input_range": st.builds("{},{}".format, st.floats(-1e9, 0), st.floats(1, 1e9)),
    "input_mean": st.lists(_REAL, min_size=1, max_size=4).map(",".join),
    "input_std": st.lists(st.floats(1e-6, 1e9).map(str), min_size=1, max_size=4).map(
        ",".join
    ),
    "labels": _pairs(_VALUE, 0),
    "label": st.builds("{}={}".format, _NAME, _VALUE),
    "label_value": _VALUE.filter(lambda value: value.strip() == value),
    "note": st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=2000),
    "webhook_url": st.from_regex(
        r"https://[a-z0-9]{1,20}\.example/[a-z0-9/]{0,40}", fullmatch=True
    ),
    "cursor": st.builds(
        "{:%Y-%m-%dT%H:%M:%S.%f}+00:00 {}".format, st.datetimes(_2000), st.uuids()
    ).map(lambda place: base64.urlsafe_b64encode(place.encode()).decode()),
}

FILES = {
    "samples.npz": _samples(),
    "evaluation.npz": _evaluation(),
    **{path.name: path.read_bytes() for path in _PATHS},
}

for name, strategy in FORMATS.items():
    schemathesis.openapi.format(name, strategy)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Say of what kind the texts and files of requests are."""
    jobs = _form(raw_schema, "/jobs")
    fields = jobs["schema"]["properties"]
    # Which formats have int8 no schema can say: all of these stay in float.
    fields["precision"]["enum"] = ["float"]
    jobs["schema"]["anyOf"] = [
        each for each in jobs["schema"]["anyOf"] if "properties" not in each
    ]
    # The others are of targets, and the file has labels.
    fields["evaluation_metric"]["enum"] = ["top-1"]
    changes = raw_schema["components"]["schemas"]["JobChanges"]["properties"]
    [labels, _] = changes["labels"]["anyOf"]
    labels["additionalProperties"]["format"] = "label_value"
    [note, _] = changes["note"]["anyOf"]
    note["format"] = "note"
    for path in ("/jobs", "/advice"):
        form = _form(raw_schema, path)
        fields = form["schema"]["properties"]
        shown = {
            name: schema["example"]
            for name, schema in fields.items()
            if "example" in schema
        }
        form["example"] = {**shown, "model": _PATHS[0].name}
        for name, schema in (*fields.items(), *_parameters(raw_schema, path)):
            if name in FORMATS:
                _text(schema)["format"] = name


def _form(raw_schema, path):
    """The form that a path takes."""
    return raw_schema["paths"][path]["post"]["requestBody"]["content"][
        "multipart/form-data"
    ]


def _parameters(raw_schema, path):
    """The parameters of all calls of a path, by name."""
    for call in raw_schema["paths"][path].values():
        for parameter in call["parameters"]:
            yield parameter["name"].lower(), parameter["schema"]


def _text(schema):
    """The part of a schema that describes one text."""
    return schema["items"] if schema["type"] == "array" else schema


@schemathesis.hook
def before_call(context, case, kwargs):
    """Send files for their names and a key that no other form has, and wait for no minute: nobody
    works on the jobs.

    A job whose events are asked for is cancelled before, or their stream would not end.
    """
    is_declared = case.method.upper() == case.operation.method.upper()
    if not is_declared:
        # The bodies of all calls but uploads are short: a model would be refused for its size.
        case.body = schemathesis.core.NOT_SET
    if isinstance(case.body, dict):
        _state_shape(case.body)
        case.body = {
            name: FILES.get(str(value), value) for name, value in case.body.items()
        }
    if re.fullmatch("[!-~]+", (case.headers or {}).get("idempotency-key") or ""):
        case.headers["idempotency-key"] = str(uuid.uuid4())
    wait = str((case.query or {}).get("wait"))
    if re.fullmatch(r"\d+(\.\d+)?", wait) and float(wait) <= 60:
        case.query["wait"] = float(wait) / 60
    if case.operation.path == "/jobs/{job_id}/events":
        _cancel(case)


def _state_shape(form):
    """State the input shape of a TorchScript model: whether one is needed is up to the file."""
    sources = [str(form.get(name, "")) for name in ("model", "model_uri")]
    if any(source.endswith(".pt") for source in sources):
        form.setdefault("input_shape", "1x1x16x16")


def _cancel(case):
    """Cancel the job that a request is about; whether there is one is for the request itself to
    find out.
    """
    url = f"{case.operation.base_url.rstrip('/')}/jobs/{case.path_parameters['job_id']}/cancel"
    authorization = {
        name: value
        for name, value in case.headers.items()
        if name.lower() == "authorization"
    }
    requests.post(url, headers=authorization, timeout=60)
