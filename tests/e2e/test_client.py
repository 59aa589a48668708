"""The client over the running service, also where the line to it breaks."""

import hashlib
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from digits import MODELS
from support.service.broken_line import UNAVAILABLE, broken_line

from convpress import (
    AsyncClient,
    Client,
    Corrupt,
    JobFailed,
    Refused,
    TooLate,
    Unavailable,
)

MODEL = MODELS / "residual.onnx"


class Awaited:
    """An AsyncClient, called as one that blocks."""

    def __init__(self, *arguments, **options):
        self._arguments = arguments
        self._options = options

    def __getattr__(self, name):
        async def call(arguments, options):
            async with AsyncClient(*self._arguments, **self._options) as client:
                return await getattr(client, name)(*arguments, **options)

        return lambda *arguments, **options: anyio.run(call, arguments, options)


# Both call the same coroutines: one way through a job is enough for `make test`.
@pytest.fixture(params=["blocking", pytest.param("async", marks=pytest.mark.slow)])
def connect(request):
    """Make clients of either kind."""
    if request.param == "async":
        yield Awaited
        return
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(
            Client(*arguments, **options)
        )


@pytest.mark.parametrize("connect", ["blocking", "async"], indirect=True)
def test_a_model_goes_and_comes_back(service, connect, tmp_path):
    client = connect(str(service.http.base_url))
    sent = []
    seen = []
    received = []
    job = client.submit(
        MODEL,
        0.5,
        calibration="none",
        labels={"a": "1"},
        on_upload=lambda *amounts: sent.append(amounts),
    )
    assert job.model.filename == "residual.onnx"
    assert job.flops_budget == "0.5"
    assert job.labels == {"a": "1"}
    assert sent[-1] == (MODEL.stat().st_size, MODEL.stat().st_size)
    target = tmp_path / "net.onnx"
    job = client.wait(job, on_progress=seen.append, timeout=600)
    # Not each state: a client that gets no time meanwhile hears of the end alone.
    assert seen[-1].state == "succeeded"
    assert [each.progress for each in seen] == sorted(each.progress for each in seen)
    path = client.download(
        job.id, target, on_download=lambda *amounts: received.append(amounts)
    )
    assert path == target
    content = target.read_bytes()
    assert hashlib.sha256(content).hexdigest() == job.result.artifact.sha256
    assert received[-1] == (len(content), len(content))
    assert list(tmp_path.iterdir()) == [target]
    assert client.report(job)["keep"] == job.result.keep
    costs = [point.macs for point in client.frontier(job)]
    assert costs[-1] == job.result.macs_before
    assert costs == sorted(costs)


@pytest.mark.slow
def test_a_wait_hears_of_the_work_and_of_the_end(service, connect):
    job, engine = service.post_and_catch()
    seen = []

    def note(job):
        if not seen:
            engine.resume()
        seen.append(job.state)

    connect(str(service.http.base_url)).wait(job["id"], on_progress=note)
    assert (seen[0], seen[-1]) == ("running", "succeeded")


def test_jobs_are_listed(service, done, connect):
    client = connect(str(service.http.base_url))
    assert [job.id for job in client.list(labels={"of": "all"})] == [done.id]
    assert client.list(labels={"of": "none"}) == []
    assert (
        client.list(
            state=["failed"], created_from=datetime.now(UTC) + timedelta(days=1)
        )
        == []
    )
    assert len(client.list(limit=1)) == 1


def test_labels_and_a_note_are_changed_and_the_log_is_read(service, connect):
    client = connect(str(service.http.base_url))
    job = service.post(labels="run=1")["id"]
    changed = client.annotate(job, labels={"run": "2"}, note="good")
    assert (changed.labels, changed.note) == ({"run": "2"}, "good")
    assert client.annotate(job, note="").note is None
    assert client.annotate(job, labels={}).labels == {}
    client.wait(job)
    assert "succeeded: done" in client.log(job)
    with pytest.raises(Refused, match="is not a label"):
        client.annotate(job, labels={"a b": "c"})


@pytest.mark.slow
def test_a_job_is_waited_for_no_longer_than_allowed_and_cancelled(service, connect):
    client = connect(str(service.http.base_url))
    job = client.submit(
        MODELS / "residual.scripted.pt", "0.5", input_shape="1x1x640x640"
    )
    with pytest.raises(TooLate) as late:
        client.wait(job, timeout=0.5)
    assert late.value.job.state in ("queued", "running")
    assert client.cancel(job).state == "cancelled"
    with pytest.raises(JobFailed, match="cancelled") as failed:
        client.wait(str(job.id))
    assert failed.value.job.error is None


def test_problems_are_typed(service, connect, tmp_path):
    client = connect(str(service.http.base_url))
    with pytest.raises(Refused) as refused:
        client.submit(MODEL, "much")
    assert refused.value.problem.code == "budget_invalid"
    assert refused.value.problem.field == "flops_budget"
    with pytest.raises(Refused, match="job_not_found"):
        client.job(uuid.uuid4())
    with pytest.raises(Refused, match="not_found"):
        client.download("../jobs", tmp_path / "net.onnx")
    with pytest.raises(FileNotFoundError):
        client.submit(tmp_path / "none.onnx", "0.5")


def test_a_refusal_in_the_middle_of_a_large_upload_is_heard(service, connect, tmp_path):
    large = tmp_path / "net.onnx"
    with large.open("wb") as file:
        file.truncate(64 * 1024**2)
    with pytest.raises(Refused, match="budget_invalid"):
        connect(str(service.http.base_url)).submit(large, "much")


def test_a_submission_whose_answer_is_lost_makes_one_job(service, address, connect):
    name = uuid.uuid4().hex
    with broken_line(address, 20, UNAVAILABLE, 0) as line:
        job = connect(line.url).submit(
            MODEL, "0.5", calibration="none", labels={"name": name}
        )
        assert line.connections == 4
    page = connect(str(service.http.base_url)).list(labels={"name": name})
    assert [each.id for each in page] == [job.id]


def test_the_same_key_gives_the_same_job(service, connect):
    client = connect(str(service.http.base_url))
    key = uuid.uuid4().hex
    ids = {
        client.submit(MODEL, "0.5", calibration="none", idempotency_key=key).id
        for _ in range(2)
    }
    assert len(ids) == 1
    with pytest.raises(Refused, match="idempotency_key_reused"):
        client.submit(MODEL, "0.4", calibration="none", idempotency_key=key)


def test_a_download_goes_on_where_it_was_cut_off(address, done, connect, tmp_path):
    size = done.result.artifact.bytes
    with broken_line(address, size // 2, size // 2, UNAVAILABLE) as line:
        path = connect(line.url).download(done, tmp_path / "net.onnx")
        assert line.connections >= 4
        # each byte once, and the headers of the answers
        assert size < line.passed < size + 16384
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done.result.artifact.sha256


def test_a_download_goes_on_where_another_process_left_it(
    address, done, connect, tmp_path
):
    size = done.result.artifact.bytes
    target = tmp_path / "net.onnx"
    with broken_line(address, size // 2) as line:
        with pytest.raises(Unavailable):
            connect(line.url, patience=0).download(done, target)
        [part] = tmp_path.iterdir()
        assert 0 < part.stat().st_size < size
        line.passed = 0
        connect(line.url).download(done, target)
        assert line.passed < 0.75 * size
    assert (
        hashlib.sha256(target.read_bytes()).hexdigest() == done.result.artifact.sha256
    )


@pytest.mark.parametrize("junk", [b"junk", b"x" * 10**6], ids=["shorter", "longer"])
def test_what_is_not_the_artifact_is_not_kept(service, done, connect, tmp_path, junk):
    artifact = done.result.artifact
    target = tmp_path / "net.onnx"
    (tmp_path / f".net.onnx.{artifact.sha256[:16]}.part").write_bytes(junk)
    client = connect(str(service.http.base_url))
    with pytest.raises(Corrupt, match=artifact.sha256):
        client.download(done, target)
    assert list(tmp_path.iterdir()) == []
    assert client.download(done, target).stat().st_size == artifact.bytes


def test_nobody_is_waited_for_longer_than_patience_lasts(connect):
    with pytest.raises(Unavailable, match="does not answer"):
        connect("http://127.0.0.1:9", patience=0.3).list()
    with pytest.raises(ValueError, match="http://"):
        Client("127.0.0.1:8000")


def test_another_server_is_told_from_the_service(address):
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    lost = page.replace(b"200 OK", b"404 Not Found")
    with broken_line(address, page, lost) as line, Client(line.url) as client:
        for _ in range(2):
            with pytest.raises(Unavailable, match="not as the service does"):
                client.list()
