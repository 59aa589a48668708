"""The command that fetches an artifact writes it where it was asked for, or beside nothing else."""

import json

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_from_the_service_names_a_file_of_this_folder(run, service, folder):
    model = service.known.model.model_copy(update={"filename": "../../etc/net.onnx"})
    service.known = service.known.model_copy(update={"model": model})
    done = run("download", service.known.id)
    assert done.exit_code == 0, done.output
    assert "written to net.convpress.onnx" in done.stdout
    assert [path.name for path in folder.iterdir()] == ["net.convpress.onnx"]


def test_a_folder_is_no_output_and_nothing_is_fetched(run, service, folder):
    assert run("download", service.known.id, "--output", folder).exit_code == 2
    assert [name for name, _, _ in service.calls] == ["job"]


def test_json_is_the_job(run, service, folder):
    done = run("download", service.known.id, "-o", folder / "a.onnx", "--json")
    assert json.loads(done.stdout)["id"] == str(service.known.id)
    assert (done.stderr, (folder / "a.onnx").read_bytes()) == ("", b"artifact")
