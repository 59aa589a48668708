"""The wheel and the sdist, installed and used in a project that has packages called `app` and
`worker` of its own.
"""

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest
from digits import MODELS
from support.service.running_service import free_port, wait_for

# Built, installed and started: it depends on how the project is packed, which seldom changes.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOREIGN = """
import json, sys
import app, worker                     # the project's own
import convpress
from convpress import AsyncClient, Client
heavy = ("fastapi", "celery", "sqlalchemy", "torch", "onnx", "numpy")
result = convpress.compress("net.onnx", flops_budget=0.5, calibration="none")
inspection = convpress.inspect("net.onnx")
try:
    convpress.compress("net.onnx", flops_budget=1e-6, calibration="none")
except convpress.Refusal as refusal:
    code = refusal.code
print(json.dumps({
    "app": app.NAME, "home": convpress.__file__, "output": str(result.output),
    "keep": result.report.keep,
    "macs": inspection.macs, "code": code,
    "loaded": [name for name in heavy if name in sys.modules],
}))
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    tree = tmp_path_factory.mktemp("tree") / "convpress"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.split(b"\0")
    for name in filter(None, map(bytes.decode, names)):
        if (ROOT / name).is_file() and not name.startswith(
            ("tests/", "docs/", "benchmarks/")
        ):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(tree),
    ]
    build = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def interpreter(distributions, tmp_path_factory):
    """An environment with the wheel and, as a plain path, what the project depends on."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True
    )
    [library] = (folder / "lib").glob("python*/site-packages")
    [wheel] = distributions.glob("*.whl")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
    ]
    subprocess.run([*install, "--target", library, wheel], check=True, timeout=300)
    # A path file is read for its folders alone: no editable installation of the project is found
    # through it.
    (library / "dependencies.pth").write_text(f"{dependencies()}\n")
    return folder / "bin" / "python"


def dependencies() -> Path:
    return Path(httpx.__file__).parents[1]


@pytest.fixture
def project(tmp_path):
    """A project with packages called like ours, and a model."""
    for name in ("app", "worker"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("NAME = 'foreign'\n")
    shutil.copyfile(MODELS / "residual.onnx", tmp_path / "net.onnx")
    return tmp_path


def test_the_sdist_holds_the_migrations(distributions):
    [sdist] = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"alembic/env.py", "LICENSE", "README.md", "setup.py"} <= set(names)
    assert any(name.startswith("alembic/versions/") for name in names)


def test_the_wheel_holds_every_file_of_the_packages(distributions):
    [wheel] = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    files = {
        str(path.relative_to(ROOT))
        for package in ("app", "convpress", "worker")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert files <= packed


def test_a_project_with_an_app_of_its_own_compresses_a_model(interpreter, project):
    run = subprocess.run(
        [interpreter, "-c", FOREIGN],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert answer["app"] == "foreign"
    assert Path(answer["home"]).is_relative_to(Path(interpreter).parents[1])
    assert answer["loaded"] == []
    assert answer["output"] == "net.convpress.onnx"
    assert answer["keep"] <= 0.5
    assert answer["macs"] > 0
    assert answer["code"] == "budget_unreachable"
    assert (project / "net.convpress.onnx").stat().st_size > 0


def test_the_engine_runs_without_the_packages_of_the_server(interpreter, project):
    server = (
        "alembic",
        "celery",
        "fastapi",
        "obstore",
        "sqlalchemy",
        "starlette",
        "uvicorn",
    )
    # A path of one's own is not isolated away: the engine's process cannot import these either.
    [library] = (Path(interpreter).parents[1] / "lib").glob("python*/site-packages")
    hidden = "import sys; sys.modules.update(dict.fromkeys(" + repr(server) + "))"
    (library / "hide_server.pth").write_text(f"{hidden}\n")
    program = "import convpress; print(convpress.inspect('net.onnx').macs)"
    try:
        run = subprocess.run(
            [interpreter, "-c", program],
            cwd=project,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        (library / "hide_server.pth").unlink()
    assert int(run.stdout) > 0, run.stderr


def test_a_missing_engine_is_named_with_what_to_install(interpreter, project):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import convpress\n"
        "try: convpress.inspect('net.onnx')\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run(
        [interpreter, "-c", program],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "torch" in run.stdout
    assert "pip install 'convpress[engine]'" in run.stdout, run.stderr


def test_the_installed_service_migrates_and_serves(interpreter, project, monkeypatch):
    monkeypatch.setenv("CONVPRESS_DATA_DIR", str(project / "data"))
    monkeypatch.setenv("CONVPRESS_PORT", str(port := free_port()))
    monkeypatch.delenv("CONVPRESS_DATABASE_URL", raising=False)
    monkeypatch.delenv("CONVPRESS_BROKER_URL", raising=False)
    command = [interpreter, "-P", "-m", "worker.cli", "serve"]
    with (project / "log").open("w") as log:
        service = subprocess.Popen(command, cwd=project, stdout=log, stderr=log)
    try:
        wait_for(lambda: is_ready(port, service), "the service")
        for page in ("/", "/dashboard/static/dashboard.css", "/docs"):
            assert httpx.get(f"http://127.0.0.1:{port}{page}").status_code == 200
    finally:
        service.terminate()
        service.wait(120)


def is_ready(port: int, service: subprocess.Popen) -> bool:
    assert service.poll() is None
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False
