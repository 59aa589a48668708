"""Input that the API itself refuses: status, code and field, and nothing left on the disk."""

import http.client
import io
import json
import pickle
import socket
import time
import zipfile
from pathlib import Path

import onnx
import pytest

MODELS = Path(__file__).parents[1] / "models"
ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])


def archive(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writer:
        for name in names:
            writer.writestr(name, b"x" * 50)
    return file.getvalue()


STATE_DICT = archive("net/data.pkl", "net/version", "net/data/0")

BAD_MODELS = {
    "empty": (b"", "model_empty"),
    "text": (b"this is not a model at all", "model_unrecognised"),
    "html": (b"<!doctype html><html></html>", "model_unrecognised"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "model_unsupported"),
    "other zip": (archive("word/document.xml"), "model_unrecognised"),
    "onnx cut short": (bytes([0x08, 0x0A, 0x3A, 0x7F]) + b"graph", "model_truncated"),
    "archive cut short": (
        archive("net/data.pkl", "net/constants.pkl", "net/code/net.py")[:80],
        "model_truncated",
    ),
    "state_dict": (STATE_DICT, "model_pickled"),
    "old state_dict": (pickle.dumps({"weight": [1.0]}, protocol=2), "model_pickled"),
}


def assert_problem(response, status, code, field=None):
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code == status
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:convpress:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == response.request.url.path
    assert body.get("field") == field
    return body


@pytest.fixture(autouse=True)
def nothing_left(api):
    before = api.stored()
    newest = api.http.get("/jobs").json()["jobs"]
    yield
    assert api.left_over() == []
    assert api.stored() == before
    assert api.http.get("/jobs").json()["jobs"] == newest


@pytest.mark.parametrize(("model", "code"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_bad_model(api, model, code):
    body = assert_problem(api.post(model), 422, code, "model")
    assert body["expected"]
    assert body["got"]


def test_pickled_model_is_told_what_to_export(api):
    assert "torch.jit.trace" in api.post(STATE_DICT).json()["detail"]
    assert "torch.onnx.export" in api.post(STATE_DICT).json()["detail"]


@pytest.mark.parametrize(
    "budget",
    ["0", "-1", "NaN", "abc", "101%", "1.01", "inf", "1e-300", "5 apples", "9" * 3000],
)
def test_bad_budget(api, budget):
    body = assert_problem(
        api.post(flops_budget=budget), 422, "budget_invalid", "flops_budget"
    )
    assert "47%" in body["expected"]
    assert body["got"].startswith(budget[:20])


@pytest.mark.parametrize("field", ["params_budget", "bytes_budget", "latency_budget"])
@pytest.mark.parametrize("budget", ["0", "101%", "5 apples"])
def test_a_bad_budget_of_another_kind_beside_a_good_one(api, field, budget):
    body = assert_problem(api.post(**{field: budget}), 422, "budget_invalid", field)
    assert body["got"] == budget


@pytest.mark.parametrize(
    "fields",
    [
        {"flops_at_any_price": "maybe"},
        {"flops_at_any_price": "true", "latency_budget": "1"},
    ],
)
def test_a_bad_price(api, fields):
    assert_problem(api.post(**fields), 422, "budget_invalid", "flops_at_any_price")


@pytest.mark.parametrize("budget", ["", "   "])
def test_empty_budget(api, budget):
    assert_problem(api.post(flops_budget=budget), 422, "budget_missing", "flops_budget")


def test_missing_budget(api):
    response = api.http.post("/jobs", files={"model": ("net.onnx", ONNX)})
    assert_problem(response, 422, "budget_missing", "flops_budget")


@pytest.mark.parametrize(
    "shape", ["1x3x0x4", "3;224;224", "1x3x-2", "image=", "a=1x2,a=1x2", "1x" * 500]
)
def test_bad_input_shape(api, shape):
    assert_problem(
        api.post(input_shape=shape), 422, "input_shape_invalid", "input_shape"
    )


def test_missing_model(api):
    response = api.http.post("/jobs", files={"flops_budget": (None, "0.5")})
    assert_problem(response, 422, "model_missing", "model")


def test_unknown_field_is_named(api):
    response = api.post(budget="0.5")
    assert_problem(response, 422, "field_unknown", "budget")
    assert (
        response.json()["detail"]
        == "there is no field 'budget': did you mean flops_budget?"
    )


@pytest.mark.parametrize("name", ["flops_budget", "model", "input_shape"])
def test_repeated_field_is_named(api, name):
    twice = [
        ("flops_budget", (None, "0.5")),
        ("model", ("n.onnx", ONNX)),
        ("input_shape", (None, "1x3")),
        (name, "1"),
    ]
    assert_problem(api.http.post("/jobs", files=twice), 422, "field_repeated", name)


@pytest.mark.parametrize("value", [b"\xff\xfe", b"a\0=1x3", b"1x" * 4000])
def test_field_that_is_no_short_text(api, value):
    response = api.http.post(
        "/jobs", files={"input_shape": (None, value), "model": ("net.onnx", ONNX)}
    )
    assert_problem(response, 422, "field_invalid", "input_shape")


def test_body_that_is_no_form(api):
    assert_problem(
        api.http.post("/jobs", json={"flops_budget": "0.5"}),
        415,
        "media_type_unsupported",
    )
    assert_problem(
        api.http.post("/jobs", data={"flops_budget": "0.5"}),
        415,
        "media_type_unsupported",
    )
    assert_problem(api.http.post("/jobs"), 415, "media_type_unsupported")


PART = b'--b\r\nContent-Disposition: form-data; name="model"; filename="n.onnx"\r\n\r\n'

MALFORMED = {
    "nothing": b"",
    "no boundary": b"hello",
    "no end": PART + ONNX,
    "no name": b"--b\r\n\r\nvalue\r\n--b--\r\n",
    "attachment": PART.replace(b"form-data", b"attachment") + ONNX + b"\r\n--b--\r\n",
    "name not UTF-8": PART.replace(b"model", b"\xff") + ONNX + b"\r\n--b--\r\n",
    "endless header": b"--b\r\nX: " + b"y" * 100_000,
    "bad header name": b"--b\r\n\0: y\r\n\r\n",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_multipart(api, body):
    response = api.http.post(
        "/jobs",
        content=body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert_problem(response, 400, "multipart_invalid")


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + "b" * 300])
def test_bad_boundary(api, boundary):
    response = api.http.post(
        "/jobs",
        content=PART,
        headers={"Content-Type": "multipart/form-data" + boundary},
    )
    assert_problem(response, 400, "multipart_invalid")


def send_and_hang(api, body, length):
    """Announce a body, send its beginning alone, and return the answer that comes all the same."""
    address = api.http.base_url
    with socket.create_connection(
        (address.host, address.port), timeout=120
    ) as connection:
        connection.sendall(
            f"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n".encode()
            + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            + body
        )
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, json.loads(response.read())["code"]


def test_announced_upload_over_the_limit_is_refused_before_it_is_sent(api):
    assert send_and_hang(api, b"", 2_000_000) == (413, "upload_too_large")


def test_announced_upload_over_the_limit(api):
    assert_problem(api.post(b"x" * 2_000_000), 413, "upload_too_large", "model")


@pytest.mark.parametrize("size", [1_000_001, 5_000_000])
def test_unannounced_upload_over_the_limit(api, size):
    def body():
        yield PART
        yield from [b"x" * 50_000] * (size // 50_000)
        yield b"x" * (size % 50_000)
        yield b"\r\n--b--\r\n"

    response = api.http.post(
        "/jobs",
        content=body(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert_problem(response, 413, "upload_too_large", "model")


def test_endless_preamble_is_an_upload_over_the_limit(api):
    body = (b"\r\n" * 25_000 for _ in range(40))
    response = api.http.post(
        "/jobs",
        content=body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert_problem(response, 413, "upload_too_large", "model")


def test_bad_budget_before_the_model_is_refused_before_the_model_is_sent(api):
    budget = (
        b'--b\r\nContent-Disposition: form-data; name="flops_budget"\r\n\r\nabc\r\n'
    )
    assert send_and_hang(api, budget + PART, 900_000) == (422, "budget_invalid")


def test_client_that_goes_away_leaves_nothing(api):
    address = api.http.base_url
    with socket.create_connection((address.host, address.port)) as connection:
        connection.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            + PART
            + b"x" * 300_000
        )
        wait_for(lambda: api.left_over() != [])
    wait_for(lambda: api.left_over() == [])
    wait_for(lambda: "the client went away" in api.log.read_text())


def wait_for(condition):
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "job_id", ["6f2c8b1e-3d4a-4c5b-9e7f-0a1b2c3d4e5f", "7", "x" * 500, "%00"]
)
@pytest.mark.parametrize("part", ["", "/artifact", "/report", "/frontier"])
def test_unknown_job(api, job_id, part):
    response = api.http.get(f"/jobs/{job_id}{part}")
    assert response.status_code == 404
    assert response.json()["code"] == "job_not_found"


@pytest.mark.parametrize(
    "cursor", ["x", "AAAA", "é", "MjAyNi0wMS0wMSA3", "%00", "9" * 5000]
)
def test_bad_cursor(api, cursor):
    assert_problem(
        api.http.get("/jobs", params={"cursor": cursor}),
        400,
        "cursor_invalid",
        "cursor",
    )


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "9" * 5000])
def test_bad_limit(api, limit):
    assert_problem(
        api.http.get("/jobs", params={"limit": limit}), 422, "request_invalid", "limit"
    )


def test_unknown_path_and_method(api):
    assert_problem(api.http.get("/nothing"), 404, "not_found")
    assert_problem(api.http.put("/jobs"), 405, "method_not_allowed")


def test_a_model_without_a_shape_is_refused_before_it_is_queued(api):
    model = (MODELS / "plain.traced.pt").read_bytes()
    response = api.post(model, "net.pt")
    assert_problem(response, 422, "input_shape_required", "input_shape")
    assert response.json()["expected"].startswith("sizes joined by x")


def test_an_onnx_model_with_open_sizes_is_refused_before_it_is_queued(api):
    model = onnx.load(MODELS / "plain.onnx")
    for axis, symbol in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = symbol
    response = api.post(model.SerializeToString(), "net.onnx")
    assert_problem(response, 422, "input_shape_required", "input_shape")
    assert response.json()["expected"] == "1x1xheightxwidth with numbers for all sizes"
    accepted = api.post(model.SerializeToString(), input_shape="1x1x16x16")
    assert accepted.status_code == 202
    api.http.post(f"/jobs/{accepted.json()['id']}/cancel")
    api.http.delete(f"/jobs/{accepted.json()['id']}")


def test_a_stored_model_needs_its_shape_as_well(api):
    model = (MODELS / "plain.traced.pt").read_bytes()
    job = api.post(model, "net.pt", input_shape="1x1x16x16").json()
    again = {"flops_budget": "0.4", "model_sha256": job["model"]["sha256"]}
    response = api.http.post(
        "/jobs", files={name: (None, text) for name, text in again.items()}
    )
    assert_problem(response, 422, "input_shape_required", "input_shape")
    api.http.post(f"/jobs/{job['id']}/cancel")
    api.http.delete(f"/jobs/{job['id']}")
