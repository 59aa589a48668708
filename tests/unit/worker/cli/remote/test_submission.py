"""A model goes to the service and comes back, with bars on standard error alone."""

import zipfile

from worker.cli.remote import submission
from worker.cli.remote.submission import Submission


def test_a_job_is_named_before_it_is_waited_for(service, tmp_path, capsys):
    target = tmp_path / "net.onnx"
    job, report = submission.submit_and_wait(
        service, Submission(tmp_path / "m", "0.5", target, "key"), {}, quiet=False
    )
    assert (job, report.sites[0].name) == (service.known, "conv1")
    assert service.options_of("submit") == {"idempotency_key": "key"}
    names = [name for name, _, _ in service.calls]
    assert names == ["submit", "wait", "download", "report"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"job {job.id}" in captured.err
    assert "upload" in captured.err
    assert target.read_bytes() == b"artifact"


def test_quiet_writes_nothing(service, tmp_path, capsys):
    assert submission.wait_with_bar(service, service.known, quiet=True) is service.known
    submission.download_with_bar(service, service.known, tmp_path / "n", quiet=True)
    assert capsys.readouterr() == ("", "")


def test_an_archive_of_an_onnx_model_is_called_one(service, tmp_path):
    plain, archive = tmp_path / "plain.onnx", tmp_path / "beside.onnx"
    plain.write_bytes(b"model")
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("net.onnx", b"model")
    job = service.known
    assert job.model.format == "onnx"
    assert submission.written_line(job, plain) == f"written to {plain}"
    line = submission.written_line(job, archive)
    assert line.startswith(f"written to {archive}, a zip archive of the model")
    model = job.model.model_copy(update={"format": "torchscript"})
    of_torch = job.model_copy(update={"model": model})
    assert submission.written_line(of_torch, archive) == f"written to {archive}"
