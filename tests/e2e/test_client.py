"""The client and `convpress submit` over the running service, also where the line to it breaks."""

import hashlib
import inspect
import json
import uuid
import zipfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import anyio
import onnx
import pytest
from digits import MODELS
from support.service.broken_line import UNAVAILABLE, broken_line
from typer.testing import CliRunner

from app.errors import document
from convpress import (
    AsyncClient,
    Client,
    Corrupt,
    JobFailed,
    Refused,
    TooLate,
    Unavailable,
)
from convpress.schemas import Problem
from convpress.text.quantities import percent
from worker.cli import exits, main

MODEL = MODELS / "residual.onnx"


@pytest.fixture(scope="module")
def address(service):
    url = service.http.base_url
    return url.host, url.port


@pytest.fixture(scope="module")
def done(service):
    """A job that has succeeded."""
    with Client(str(service.http.base_url)) as client:
        return client.wait(
            client.submit(MODEL, "0.5", calibration="none", labels={"of": "all"})
        )


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


def test_both_clients_have_the_same_calls():
    calls = lambda kind: {  # noqa: E731
        name: inspect.signature(call)
        for name, call in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and "close" not in name
    }
    assert calls(Client) == calls(AsyncClient)


@pytest.fixture
def submit(monkeypatch, service):
    """Run `convpress submit` for this service in this process."""
    monkeypatch.setenv("CONVPRESS_SERVER", str(service.http.base_url))
    return lambda *arguments: CliRunner().invoke(
        main.app, ["submit", *map(str, arguments)]
    )


def test_the_command_line_submits(submit, tmp_path):
    target = tmp_path / "net.onnx"
    report = tmp_path / "report.json"
    asked = (
        MODEL,
        "--flops-budget",
        "0.5",
        "--calibration",
        "none",
        "--label",
        "a=b",
        "--idempotency-key",
        tmp_path.name,
    )
    ended = submit(*asked, "--output", target, "--report", report)
    assert ended.exit_code == 0, ended.output
    assert "MACs" in ended.stdout
    assert "upload" in ended.stderr
    assert json.loads(report.read_text())["after"]["bytes"] == target.stat().st_size
    again = submit(*asked, "--output", tmp_path / "again.onnx", "--json")
    assert again.exit_code == 0
    assert again.stderr == ""
    assert json.loads(again.stdout)["labels"] == {"a": "b"}
    assert (tmp_path / "again.onnx").read_bytes() == target.read_bytes()


@pytest.mark.slow
def test_the_command_line_submits_weights_beside_a_model(submit, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(onnx.load(MODEL), path, save_as_external_data=True, location="net.data")
    ended = submit(path, "--flops-budget", "0.5", "--calibration", "none")
    assert ended.exit_code == 0, ended.output
    with zipfile.ZipFile(tmp_path / "net.convpress.zip") as artifact:
        assert artifact.namelist()[0] == "net.onnx"


@pytest.fixture
def call(monkeypatch, service):
    """Run a command for this service in this process."""
    monkeypatch.setenv("CONVPRESS_SERVER", str(service.http.base_url))
    return lambda *arguments: CliRunner().invoke(main.app, list(map(str, arguments)))


def test_a_job_is_followed_from_the_command_line(call, done, tmp_path):
    assert (
        str(done.id) in call("jobs", "--label", "of=all", "--state", "succeeded").stdout
    )
    listed = json.loads(call("jobs", "--label", "of=all", "--json").stdout)
    assert [job["id"] for job in listed] == [str(done.id)]
    assert call("jobs", "--label", "of=none").stdout == "no job matches\n"
    for command in ("status", "wait"):
        shown = call(command, done.id)
        assert shown.exit_code == 0, shown.output
        assert "succeeded" in shown.stdout
        assert json.loads(call(command, done.id, "--json").stdout)["id"] == str(done.id)
    assert f"{percent(done.result.keep)} kept" in call("status", done.id).stdout
    target = tmp_path / "net.onnx"
    assert call("download", done.id, "--output", target).exit_code == 0
    assert (
        hashlib.sha256(target.read_bytes()).hexdigest() == done.result.artifact.sha256
    )
    assert "risk unknown" in call("report", done.id).stdout
    assert (
        json.loads(call("report", done.id, "--json").stdout)["keep"] == done.result.keep
    )


def test_labels_and_the_note_of_a_job_change_from_the_command_line(call, done):
    ended = call(
        "label", done.id, "team=vision", "run=1", "--note", "the best so far", "--json"
    )
    assert ended.exit_code == 0, ended.output
    job = json.loads(ended.stdout)
    assert job["labels"] == {"of": "all", "team": "vision", "run": "1"}
    assert job["note"] == "the best so far"
    job = json.loads(call("label", done.id, "run-", "team-", "--json").stdout)
    assert (job["labels"], job["note"]) == ({"of": "all"}, "the best so far")
    assert call("label", done.id).exit_code == 2
    assert "no label 'run'" in call("label", done.id, "run-").stderr
    refused = call("label", done.id, "a b=c")
    assert (refused.exit_code, refused.stderr.partition(":")[0]) == (
        1,
        "labels_invalid",
    )


def test_what_cannot_be_done_with_a_job_ends_the_command_by_its_code(
    call, done, tmp_path
):
    finished = call("cancel", done.id)
    assert (finished.exit_code, finished.stderr.partition(":")[0]) == (
        1,
        "job_finished",
    )
    unknown = call("status", uuid.uuid4())
    assert (unknown.exit_code, unknown.stderr.partition(":")[0]) == (1, "job_not_found")
    assert call("status", "17").exit_code == 2
    assert call("jobs", "--state", "lost").exit_code == 2
    assert call("download", done.id, "--output", tmp_path).exit_code == 2


def test_ctrl_c_names_the_command_that_follows_the_job_again(call, done, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "wait", interrupt)
    ended = call("wait", done.id)
    assert ended.exit_code == 130
    assert f"convpress wait {done.id}" in ended.stderr


@pytest.mark.parametrize(
    ("budget", "code"), [("much", "budget_invalid"), ("0.0001", "budget_unreachable")]
)
def test_the_command_line_tells_a_refusal_to_people_and_machines(
    submit, tmp_path, budget, code
):
    ended = submit(
        MODEL,
        "--flops-budget",
        budget,
        "--calibration",
        "none",
        "--output",
        tmp_path / "n",
        "--json",
    )
    assert ended.exit_code == 1, ended.output
    answer = json.loads(ended.stdout)
    assert (answer.get("error") or answer)["code"] == code
    assert ended.stderr.startswith(f"{code}: ")
    assert "  field: flops_budget\n" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_ends_with_a_code_that_says_why(submit, address, monkeypatch):
    with broken_line(address, UNAVAILABLE) as line:
        busy = submit(
            MODEL, "--flops-budget", "0.5", "--server", line.url, "--patience", "0"
        )
    away = submit(
        MODEL,
        "--flops-budget",
        "0.5",
        "--server",
        "http://127.0.0.1:9",
        "--patience",
        "0",
    )
    assert [(each.exit_code, each.stdout) for each in (busy, away)] == [(4, "")] * 2
    assert "does not answer" in away.stderr
    for wrong in (["--server", "nowhere"], ["--label", "a"], ["--output", MODEL]):
        assert submit(MODEL, "--flops-budget", "0.5", *wrong).exit_code == 2


@pytest.mark.parametrize(
    ("problem", "status"),
    [(None, 5), ("budget_unreachable", 1), ("engine_error", 3), ("job_timeout", 3)],
)
def test_a_job_that_made_nothing_ends_the_command_line_by_its_reason(
    done, capsys, problem, status
):
    error = problem and Problem.model_validate(
        document({"code": problem, "detail": "so it is"}, "/jobs")
    )
    with pytest.raises(SystemExit) as ended:
        exits.end_failed(
            JobFailed(done.model_copy(update={"state": "failed", "error": error})),
            json=False,
        )
    assert ended.value.code == status
    assert capsys.readouterr().err.startswith(problem or "the job has failed")
