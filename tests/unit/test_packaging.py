"""What is packaged agrees with the code: compose names real settings, images hold what they run."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = {
    name: (ROOT / "docker" / f"{name}.Dockerfile").read_text() for name in ("api", "worker")
}


def read_compose(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Read the compose file as docker compose itself does, with only these variables set."""
    command = [
        Path(sys.executable).with_name("docker-compose"),
        "--env-file",
        os.devnull,
        *options,
        "config",
        "--format",
        "json",
    ]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def services():
    process = read_compose(POSTGRES_PASSWORD="correct-horse")
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)["services"]


def test_compose_has_every_part_of_the_service(services):
    assert set(services) == {"api", "worker", "migrate", "redis", "postgres"}


def test_compose_refuses_to_start_without_a_password():
    process = read_compose()
    assert process.returncode != 0
    assert "POSTGRES_PASSWORD" in process.stderr


@pytest.mark.parametrize("name", ["api", "worker", "migrate"])
def test_compose_sets_only_what_the_settings_know(services, name):
    names = {f"CONVPRESS_{field.upper()}" for field in Settings.model_fields}
    assert (
        {"CONVPRESS_DATABASE_URL", "CONVPRESS_BROKER_URL"}
        <= set(services[name]["environment"])
        <= names
    )


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_set_only_what_the_settings_know(name):
    names = {f"CONVPRESS_{field.upper()}" for field in Settings.model_fields}
    assert {"CONVPRESS_DATA_DIR"} <= set(re.findall(r"CONVPRESS_\w+", DOCKERFILES[name])) <= names


def test_api_and_worker_share_the_artifacts_where_the_images_keep_them(services):
    for name in ("api", "worker"):
        assert [(volume["source"], volume["target"]) for volume in services[name]["volumes"]] == [
            ("artifacts", "/data")
        ]
        assert "CONVPRESS_DATA_DIR=/data" in DOCKERFILES[name]


def test_api_and_worker_wait_for_the_migrations(services):
    for name in ("api", "worker"):
        assert (
            services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        )


def test_a_second_worker_takes_over_from_the_first(services):
    assert services["worker"]["deploy"]["replicas"] == 2


def test_every_container_is_locked_down(services):
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"] is True


def test_only_the_api_is_reachable_and_only_from_this_machine(services):
    assert [name for name, service in services.items() if "ports" in service] == ["api"]
    assert [port["host_ip"] for port in services["api"]["ports"]] == ["127.0.0.1"]
    assert [name for name, service in services.items() if "outside" in service["networks"]] == [
        "api"
    ]


def test_compose_starts_monitoring_where_it_is_asked_for():
    process = read_compose("--profile", "monitoring", POSTGRES_PASSWORD="correct-horse")
    assert process.returncode == 0, process.stderr
    services = json.loads(process.stdout)["services"]
    added = {name: service for name, service in services.items() if service.get("profiles")}
    assert set(added) == {"prometheus", "grafana"}
    for service in added.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["user"]
        assert service["healthcheck"]["test"]
        for volume in service["volumes"]:
            assert volume["type"] == "volume" or (
                volume["read_only"] and Path(volume["source"]).exists()
            )
    assert [port["host_ip"] for port in added["grafana"]["ports"]] == ["127.0.0.1"]
    assert "ports" not in added["prometheus"]
    [secret] = added["prometheus"]["secrets"]
    [job] = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret['source']}"
    assert "api" in services
    assert job["static_configs"] == [{"targets": ["api:8000"]}]


def test_every_service_that_stays_is_watched(services):
    in_image = {name for name, text in DOCKERFILES.items() if "\nHEALTHCHECK " in text}
    in_compose = {
        name for name, service in services.items() if service.get("healthcheck", {}).get("test")
    }
    assert in_image | in_compose == set(services) - {"migrate"}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_do_not_run_as_root(name):
    final_stage = DOCKERFILES[name].rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", final_stage, re.MULTILINE)


def test_api_image_bounds_headers():
    assert '"--http", "h11"' in DOCKERFILES["api"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_install_nothing_without_a_hash(name):
    installs = re.findall(r"pip install (?:.*\\\n)?.*", DOCKERFILES[name])
    *locked, own = installs
    assert locked
    assert all("--require-hashes" in install and ".lock" in install for install in locked)
    assert "--no-deps --no-build-isolation -e ." in own


def locked(name):
    """Return the versions in a lock file by package; every package has a hash."""
    text = (ROOT / "docker" / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    assert all("--hash=sha256:" in line for line in lines)
    assert "://" not in text
    pins = [re.match(r"([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^ ;]+)", line) for line in lines]
    return {pin[1]: pin[2] for pin in pins}


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("files", "extras"),
    [
        (["api.lock"], ["server", "otel"]),
        (["worker.lock", "torch.lock"], ["server", "engine", "otel"]),
    ],
    ids=["api", "worker"],
)
def test_lock_files_hold_what_the_project_needs(files, extras):
    """A range that has changed needs `make lock`."""
    versions = {}
    for name in files:
        pins = locked(name)
        both = versions.keys() & pins.keys()
        assert {package: versions[package] for package in both} == {
            package: pins[package] for package in both
        }
        versions |= pins
    needs = [*PROJECT["dependencies"], "setuptools>=77"]
    for extra in extras:
        needs += PROJECT["optional-dependencies"][extra]
    for need in map(Requirement, needs):
        version = versions[canonicalize_name(need.name)]
        assert need.specifier.contains(version), f"{need}, locked: {version}"


def test_api_image_installs_no_engine():
    assert not {"torch", "numpy", "onnx", "onnxruntime"} & locked("api.lock").keys()


def test_torch_is_named_once_so_that_makefile_and_image_install_the_projects_own():
    pins = re.findall(r"torch==[0-9.]*", (ROOT / "pyproject.toml").read_text())
    engine = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]["engine"]
    assert [pin for pin in engine if pin.startswith("torch")] == pins


def test_images_hold_the_whole_project_and_no_more():
    ignored, *rules = (
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line[:1] not in ("", "#")
    )
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert ignored == "*"
    assert allowed == {
        "LICENSE",
        "README.md",
        "alembic",
        "alembic.ini",
        "app",
        "convpress",
        "docker/*.lock",
        "pyproject.toml",
        "setup.py",
        "worker",
    }
    assert all(list(ROOT.glob(path)) for path in allowed)


def test_readme_names_targets_that_the_makefile_has():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(
        re.findall(r"(?:^ *|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    )
    assert {"demo", "test"} <= named & targets
    assert named <= targets
