"""A history of ended jobs, written straight into a fleet's database and store."""

import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert
from sqlalchemy.orm import Session

from app.db.models import Event, Job, JobLabel, Model
from app.storage import LocalStorage, artifact_key
from running.fleet import Fleet, fake_engine

JOBS_OF_A_MODEL = 50
LAYERS = 54  # ResNet-50 has as many


def remember(fleet: Fleet, jobs: int) -> str:
    """Write ended jobs of the last four weeks and the results of one model; return that model."""
    model = digest(b"model 0")
    report = json.dumps(long_report()).encode()
    at = datetime.now(UTC)
    rows = [
        ended_job(number, at - timedelta(days=28) * number / jobs, digest(report))
        for number in range(jobs)
    ]
    models = dict.fromkeys(row["model_sha256"] for row in rows)
    common = {"format": "onnx", "bytes": 100, "created_at": at, "used_at": at}
    engine = create_engine(fleet.url)
    with Session(engine) as session, session.begin():
        session.execute(
            insert(Model), [{"sha256": sha256, **common} for sha256 in models]
        )
        session.execute(insert(Job), rows)
        session.execute(
            insert(JobLabel), [label for row in rows for label in labels(row)]
        )
        session.execute(insert(Event), [event for row in rows for event in story(row)])
    engine.dispose()
    storage = LocalStorage(fleet.data / "storage")
    for row in rows:
        if row["model_sha256"] == model and row["report_sha256"]:
            with storage.stage() as staged:
                staged.write(report)
                staged.flush()
                storage.keep(
                    Path(staged.name), artifact_key(row["id"], row["report_sha256"])
                )
    return model


def ended_job(number: int, created: datetime, report_sha256: str) -> dict[str, Any]:
    """Return the row of a job; of a hundred some eight have failed and two were cancelled."""
    state = (
        "failed"
        if number % 12 == 1
        else "cancelled"
        if number % 50 == 2
        else "succeeded"
    )
    events = {
        "macs_before": 100,
        "macs_after": 40,
        "artifact_bytes": 50,
        "artifact_sha256": digest(str(number).encode()),
        "report_sha256": report_sha256,
    }
    return {
        "id": uuid.uuid4(),
        "state": state,
        "created_at": created,
        "started_at": created,
        "finished_at": created + timedelta(seconds=20),
        "model_sha256": digest(f"model {number // JOBS_OF_A_MODEL}".encode()),
        "filename": f"net{number // JOBS_OF_A_MODEL}.onnx",
        "flops_budget": "0.5",
        "labels": {"run": str(number)},
        "error": {"code": "budget_unreachable", "detail": "no"}
        if state == "failed"
        else None,
        **(events if state == "succeeded" else dict.fromkeys(events)),
    }


def labels(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the labels of a job as their index has them."""
    place = {"job_id": row["id"], "created_at": row["created_at"]}
    return [
        {"name": name, "value": value, **place} for name, value in row["labels"].items()
    ]


def story(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a job that has ended."""
    steps = [
        ("queued", row["created_at"], "accepted"),
        ("running", row["started_at"], "claimed"),
        (
            row["state"],
            row["finished_at"],
            row["error"]["code"] if row["error"] else "done",
        ),
    ]
    return [
        {"job_id": row["id"], "state": state, "at": at, "attempt": 1, "detail": why}
        for state, at, why in steps
    ]


def long_report() -> dict[str, Any]:
    """Return the report of a network with many layers, with a frontier of full length."""
    [site] = fake_engine.REPORT["sites"]
    sites = [{**site, "name": f"/layer{number}/Conv"} for number in range(LAYERS)]
    frontier = [
        {"macs": keep, "keep": keep / 100, "predicted_error": (1 / keep) ** 2}
        for keep in range(5, 101, 2)
    ]
    return fake_engine.REPORT | {"sites": sites, "frontier": frontier}


def digest(content: bytes) -> str:
    """Return a SHA-256."""
    return hashlib.sha256(content).hexdigest()
