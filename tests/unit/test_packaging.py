"""What is packaged agrees with the code: compose names real settings, images hold what they run."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.http.framing import MOST_HEADER_BYTES
from app.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = {
    name: (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    for name in ("api", "worker")
}


def read_compose(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Read the compose file as docker compose itself does, with only these variables set."""
    env_file = [] if "--env-file" in options else ["--env-file", os.devnull]
    command = [
        Path(sys.executable).with_name("docker-compose"),
        *env_file,
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


# The images and the command of the API's image set these.
IN_IMAGES = {"CONVPRESS_DATA_DIR", "CONVPRESS_HOST", "CONVPRESS_PORT"}
NAMES = {f"CONVPRESS_{field.upper()}" for field in Settings.model_fields}


@pytest.mark.parametrize("name", ["api", "worker", "migrate"])
def test_compose_passes_every_setting(services, name):
    passed = set(services[name]["environment"])
    assert {
        each for each in passed if each.startswith("CONVPRESS_")
    } == NAMES - IN_IMAGES
    assert {"AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"} <= passed


def test_the_example_of_env_names_every_setting_and_sets_the_password_alone():
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"\bCONVPRESS_[A-Z_]+\b", example)) >= NAMES
    assert re.findall(r"^\w+=.*$", example, re.MULTILINE) == ["POSTGRES_PASSWORD="]


def test_the_example_of_env_has_the_defaults(monkeypatch):
    """But for keys, which a service in containers needs."""
    expected = Settings(api_keys=True).model_dump()
    example = (ROOT / ".env.example").read_text()
    values = dict(re.findall(r"^#(CONVPRESS_\w+)=(.+)$", example, re.MULTILINE))
    for name in NAMES & values.keys():
        monkeypatch.setenv(name, values[name])
    assert Settings().model_dump() == expected


def test_compose_passes_what_env_says(tmp_path):
    (tmp_path / ".env").write_text(
        "POSTGRES_PASSWORD=secret\nWORKERS=5\nCONVPRESS_UPLOAD_DAYS=7\n"
        "CONVPRESS_STORAGE_URL=s3://models/convpress\nAWS_REGION=eu\nWORKERS_ARE_ISOLATED=false\n"
    )
    process = read_compose("--env-file", str(tmp_path / ".env"))
    assert process.returncode == 0, process.stderr
    compose = json.loads(process.stdout)
    for name in ("api", "worker", "migrate"):
        environment = compose["services"][name]["environment"]
        assert environment["CONVPRESS_UPLOAD_DAYS"] == "7"
        assert environment["CONVPRESS_STORAGE_URL"] == "s3://models/convpress"
        assert environment["AWS_REGION"] == "eu"
        # None: the container does not get it, and the default holds.
        assert environment["CONVPRESS_DEVICE"] is None
    assert compose["services"]["worker"]["deploy"]["replicas"] == 5
    assert not compose["networks"]["storage"].get("internal")
    assert compose["networks"]["inside"]["internal"] is True


def test_workers_reach_nothing_outside_unless_env_says_so():
    compose = json.loads(read_compose(POSTGRES_PASSWORD="correct-horse").stdout)
    networks = compose["services"]["worker"]["networks"]
    assert all(compose["networks"][name]["internal"] is True for name in networks)


def test_compose_starts_a_proxy_where_it_is_asked_for():
    process = read_compose(
        "--profile", "tls", POSTGRES_PASSWORD="x", CONVPRESS_DOMAIN="a.org"
    )
    assert process.returncode == 0, process.stderr
    proxy = json.loads(process.stdout)["services"]["proxy"]
    assert proxy["environment"]["CONVPRESS_DOMAIN"] == "a.org"
    assert proxy["read_only"] is True
    assert proxy["healthcheck"]["test"]
    assert list(proxy["networks"]) == ["outside"]
    configuration = proxy["volumes"][0]
    assert "reverse_proxy api:8000" in Path(configuration["source"]).read_text()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_set_only_what_the_settings_know(name):
    assert (
        {"CONVPRESS_DATA_DIR"}
        <= set(re.findall(r"CONVPRESS_\w+", DOCKERFILES[name]))
        <= NAMES
    )


def test_api_and_worker_share_the_artifacts_where_the_images_keep_them(services):
    for name in ("api", "worker"):
        assert [
            (volume["source"], volume["target"]) for volume in services[name]["volumes"]
        ] == [("artifacts", "/data")]
        assert "CONVPRESS_DATA_DIR=/data" in DOCKERFILES[name]


def test_api_and_worker_wait_for_the_migrations(services):
    for name in ("api", "worker"):
        assert (
            services[name]["depends_on"]["migrate"]["condition"]
            == "service_completed_successfully"
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
    assert [
        name for name, service in services.items() if "outside" in service["networks"]
    ] == ["api"]


def test_compose_starts_monitoring_where_it_is_asked_for():
    process = read_compose("--profile", "monitoring", POSTGRES_PASSWORD="correct-horse")
    assert process.returncode == 0, process.stderr
    services = json.loads(process.stdout)["services"]
    added = {
        name: service for name, service in services.items() if service.get("profiles")
    }
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
    [job] = yaml.safe_load(
        (ROOT / "docker" / "prometheus" / "prometheus.yml").read_text()
    )["scrape_configs"]
    assert (
        job["authorization"]["credentials_file"] == f"/run/secrets/{secret['source']}"
    )
    assert "api" in services
    assert job["static_configs"] == [{"targets": ["api:8000"]}]


def test_every_service_that_stays_is_watched(services):
    in_image = {name for name, text in DOCKERFILES.items() if "\nHEALTHCHECK " in text}
    in_compose = {
        name
        for name, service in services.items()
        if service.get("healthcheck", {}).get("test")
    }
    assert in_image | in_compose == set(services) - {"migrate"}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_do_not_run_as_root(name):
    final_stage = DOCKERFILES[name].rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", final_stage, re.MULTILINE)


def test_api_image_bounds_headers():
    bound = f'"--http", "h11", "--h11-max-incomplete-event-size", "{MOST_HEADER_BYTES}"'
    assert bound in DOCKERFILES["api"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_install_nothing_without_a_hash(name):
    installs = re.findall(r"pip install (?:.*\\\n)?.*", DOCKERFILES[name])
    *locked, own = installs
    assert locked
    assert all(
        "--require-hashes" in install and ".lock" in install for install in locked
    )
    assert "--no-deps --no-build-isolation -e ." in own


def locked(name):
    """Return the versions in a lock file by package; every package has a hash."""
    text = (ROOT / "docker" / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    assert all("--hash=sha256:" in line for line in lines)
    assert "://" not in text
    pins = [
        re.match(r"([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^ ;]+)", line) for line in lines
    ]
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
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    named = set(
        re.findall(
            r"(?:^ *|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE
        )
    )
    assert {"demo", "test"} <= named & targets
    assert named <= targets


DOCKER = """#!/bin/sh
echo "$6" >> asked
printf 'sha256:%064d' "$DIGEST"
"""


def test_every_base_image_is_pinned_and_pinned_anew(tmp_path):
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    files = [
        *(tmp_path / "docker").glob("*.Dockerfile"),
        tmp_path / "docker-compose.yml",
    ]
    for digest in ("1", "2"):
        path = f"{program.parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "DIGEST": digest}
        command = [tmp_path / "docker" / "pin-images"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        lines = [line for file in files for line in file.read_text().splitlines()]
        images = re.findall(
            r"^(?:FROM|\s+image:) +([^ \n]+:[^ \n]+)", "\n".join(lines), re.M
        )
        assert len(images) >= 4
        assert all(image.endswith(f"@sha256:{digest:0>64}") for image in images)
    asked = (tmp_path / "asked").read_text().split()
    assert asked
    assert not any("@" in image for image in asked)
