"""The files in deploy/ are valid, name real settings, and keep what the images promise."""

import configparser
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = [path.name for path in (KUBERNETES / "overlays").iterdir()]
NAMES = {f"CONVPRESS_{field.upper()}" for field in Settings.model_fields}
# The oldest release of Kubernetes that is maintained, or was lately.
RELEASE = "1.31"

FILES = sorted(KUBERNETES.rglob("*.yaml"))
RESOURCES = [
    pytest.param(
        resource, id=f"{path.relative_to(KUBERNETES)}:{resource['metadata']['name']}"
    )
    for path in FILES
    if path.name != "kustomization.yaml"
    for resource in yaml.safe_load_all(path.read_text())
]
PODS = [
    pytest.param(resource.values[0]["spec"]["template"]["spec"], id=resource.id)
    for resource in RESOURCES
    if resource.values[0]["kind"] in ("Deployment", "Job")
]


def is_of_kubernetes(resource):
    """The schemas are those of Kubernetes itself: KEDA's are elsewhere."""
    return not resource["apiVersion"].startswith("keda.sh/")


@pytest.fixture(scope="module")
def validate():
    """What checks a resource."""
    # Here, since every process that collects tests would import it; without the grammars of
    # formats, which take seconds and are not checked.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "rfc3987_syntax", None)
        import kubernetes_validate

    return partial(kubernetes_validate.validate, desired_version=RELEASE, strict=True)


@pytest.mark.parametrize(
    "resource", [each for each in RESOURCES if is_of_kubernetes(each.values[0])]
)
def test_resources_have_the_fields_of_their_kind(validate, resource):
    validate(resource)


@pytest.mark.parametrize(
    "path", sorted(KUBERNETES.rglob("kustomization.yaml")), ids=str
)
def test_kustomizations_name_every_file_beside_them(path):
    kustomization = yaml.safe_load(path.read_text())
    patches = {
        patch["path"] for patch in kustomization.get("patches", []) if "path" in patch
    }
    named = set(kustomization["resources"]) | patches
    assert all((path.parent / name).exists() for name in named)
    assert {file.name for file in path.parent.glob("*.yaml")} - {path.name} <= named


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_build(validate, overlay):
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    process = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / "overlays" / overlay],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    resources = list(yaml.safe_load_all(process.stdout))
    for resource in filter(is_of_kubernetes, resources):
        validate(resource)
    assert {"api", "worker", "migrate"} <= {
        each["metadata"]["name"] for each in resources
    }


@pytest.mark.parametrize("pod", PODS)
def test_pods_are_locked_down_and_limited(pod):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def pod(name):
    [container] = [
        each.values[0]["containers"][0]
        for each in PODS
        if each.values[0]["containers"][0]["name"] == name
    ]
    return container


def test_the_api_is_probed_for_life_and_readiness():
    assert pod("api")["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert pod("api")["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a_worker_has_the_memory_of_a_job():
    limit = pod("worker")["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Gi")) * 1024**3 > Settings().job_memory_bytes


def test_workers_are_scaled_by_the_age_of_the_queue():
    [scaled] = [
        each.values[0] for each in RESOURCES if each.values[0]["kind"] == "ScaledObject"
    ]
    assert scaled["spec"]["scaleTargetRef"]["name"] == "worker"
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["metadata"]["url"].endswith("/metrics")
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert f"`{trigger['metadata']['valueLocation']}`" in operations


def test_nothing_is_reached_that_no_policy_names():
    policies = [
        each.values[0]
        for each in RESOURCES
        if each.values[0]["kind"] == "NetworkPolicy"
    ]
    [everything] = [
        each["spec"] for each in policies if each["metadata"]["name"] == "nothing"
    ]
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(
    "path", [*FILES, *(ROOT / "deploy" / "systemd").iterdir()], ids=str
)
def test_files_name_real_settings(path):
    assert set(re.findall(r"\bCONVPRESS_[A-Z_]+\b", path.read_text())) <= NAMES


def test_the_unit_serves_as_a_user_without_rights():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(ROOT / "deploy" / "systemd" / "convpress.service")
    service = unit["Service"]
    assert service["ExecStart"].endswith("/convpress serve")
    assert service["User"] == "convpress"
    assert service["NoNewPrivileges"] == "true"
