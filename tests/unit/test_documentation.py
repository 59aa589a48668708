"""The documentation says what the code does: every problem, field, command and link."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from support.service.fake_engine import REPORT

from app.errors import PROBLEM_TYPES
from app.stats import prometheus
from app.stats.queries import Jobs, Service
from convpress.refusal import Code
from worker.cli.main import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NO_JOBS = Jobs({}, None, {}, {})
NO_SERVICE = Service((), 0, 0, 0, {}, {}, 0.0, {}, {})
API = (DOCS / "api.md").read_text()


def test_every_problem_is_documented_as_it_is():
    rows = {line for line in API.splitlines() if line.startswith("| `")}
    for code, kind in PROBLEM_TYPES.items():
        assert f"| `{code}` | {kind.status} | {kind.title} |" in rows


def test_every_refusal_has_a_status():
    assert set(Code) <= set(PROBLEM_TYPES)


def test_every_field_of_the_report_is_documented():
    assert all(f"`{field}`" in API for field in REPORT)


def test_every_metric_is_documented():
    collected = prometheus.registry(NO_JOBS, NO_SERVICE, 0.0).collect()
    ending = {"counter": "_total", "info": "_info"}
    exposed = {metric.name + ending.get(metric.type, "") for metric in collected}
    documented = set(
        re.findall(r"`(convpress_\w+)`", (DOCS / "operations.md").read_text())
    )
    assert documented == exposed


def test_every_command_and_option_is_documented():
    documented = (DOCS / "cli.md").read_text()
    group = typer.main.get_command(app)
    commands = {
        f"convpress {name}": command for name, command in group.commands.items()
    }
    for name, command in commands.pop("convpress keys").commands.items():
        commands[f"convpress keys {name}"] = command
    for name, command in commands.items():
        assert re.search(rf"^\| `{name}\b", documented, re.MULTILINE), name
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in documented, f"{name} {option}"


def anchors(path):
    """The anchors of a document's headings, as GitHub and the site make them."""
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]


@pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)]+))?\)", page.read_text())
    for path, anchor in links:
        target = (page.parent / path) if path else page
        if path == "...":  # an example
            continue
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


def test_readme_is_short():
    """A reader decides within a minute: what is longer goes to a page of its own."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 80


def test_the_documents_build_as_a_site(tmp_path):
    """Strictly: a link that leads nowhere, or a page that no menu has, fails."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    process = subprocess.run(
        [*command, "--site-dir", tmp_path],
        cwd=ROOT,
        env={
            "PATH": os.defpath,
            "NO_MKDOCS_2_WARNING": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    assert 'href="security.html#a-gpu"' in (tmp_path / "operations.html").read_text()
    assert 'href="docs/' not in (tmp_path / "index.html").read_text()


MAPS = [
    ROOT / "CONTRIBUTING.md",
    DOCS / "architecture.md",
    DOCS / "method.md",
    *(DOCS / "decisions").glob("*.md"),
]
SOURCES = (
    ".ci",
    "alembic",
    "app",
    "benchmarks",
    "convpress",
    "deploy",
    "docker",
    "docs",
    "tests",
    "worker",
)
GENERATED = {"site/index.html"}


def known_paths():
    """Return the files and folders of the repository as paths from its root."""
    tops = [*ROOT.glob("*"), *(ROOT / name for name in SOURCES)]
    inner = [path for name in SOURCES for path in (ROOT / name).rglob("*")]
    return {f"/{path.relative_to(ROOT)}" for path in (*tops, *inner)}


def named_paths(page):
    """Return the modules and folders that a page names, without those with a placeholder."""
    names = re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", page.read_text())
    paths = {name.rstrip("/") for name in names if "/" in name or name.endswith(".py")}
    return paths - GENERATED


def test_every_path_that_the_map_names_is_there():
    """A page may name a path from any folder on: `knapsack.py` or `selection/knapsack.py`."""
    known = known_paths()
    missing = {
        (page.name, name)
        for page in MAPS
        for name in named_paths(page)
        if not any(path.endswith(f"/{name}") for path in known)
    }
    assert missing == set()
