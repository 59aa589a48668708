"""Keys of a running service, and axe, for tests in a browser."""

from pathlib import Path

from playwright.sync_api import Page
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from app.auth import keys
from support.service.running_service import Service

AXE = (Path(__file__).parents[2] / "browser" / "axe" / "axe.min.js").read_text()


def make_key(service: Service, owner: str, *scopes: str) -> str:
    engine = create_engine(f"sqlite:///{service.data_dir}/convpress.db")
    with Session(engine) as session, session.begin():
        token = keys.create(session, owner, scopes or ("submit", "read"))[1]
    engine.dispose()
    return token


def check_accessible(page: Page) -> None:
    """Let axe look at the page, by the debugger: the page itself may not run such scripts."""
    page.evaluate(AXE)
    # Of other results axe then lists few elements.
    options = "{resultTypes: ['violations']}"
    violations = page.evaluate(
        f"axe.run(document, {options}).then(results => results.violations)"
    )
    objections = [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in violations
    ]
    assert objections == [], f"{page.url}: {objections}"
