"""Impossible settings are refused by the name of their variable; the docs list every setting."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings

DOCS = Path(__file__).parents[3] / "docs" / "operations.md"
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def table():
    """The settings as docs/operations.md has them."""
    lines = ["| variable | default | what |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = (
            "" if field.default is None or field.default == () else f"`{field.default}`"
        )
        lines.append(
            f"| `CONVPRESS_{name.upper()}` | {default} | {field.description} |"
        )
    return "\n".join(lines)


def test_the_documents_list_every_setting():
    assert table() in DOCS.read_text()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"webhook_private_targets": True}, "CONVPRESS_WEBHOOK_PRIVATE_TARGETS"),
        ({"redirect_downloads": True}, "CONVPRESS_REDIRECT_DOWNLOADS"),
        ({"storage_url": "/srv/files"}, "storage_url"),
        ({"model_uri_prefixes": ["s3://models"]}, "model_uri_prefixes"),
        ({"webhook_secret": "password"}, "webhook_secret"),
        ({"webhook_secret": "whsec_c2hvcnQ="}, "webhook_secret"),
        ({"port": 0}, "port"),
        ({"lease_seconds": 0}, "lease_seconds"),
        ({"artifact_days": -1}, "artifact_days"),
        ({"artifact_days": 1_000_000}, "artifact_days"),
        ({"upload_days": float("inf")}, "upload_days"),
        ({"job_timeout_seconds": float("inf")}, "job_timeout_seconds"),
        ({"sweep_seconds": float("nan")}, "sweep_seconds"),
        ({"webhook_retry_seconds": 1e6}, "webhook_retry_seconds"),
        ({"database_url": "garbage"}, "database_url"),
        ({"database_url": "mysql://host/name"}, "database_url"),
        ({"database_url": "postgresql+asyncpg://host/name"}, "database_url"),
        ({"database_url": "postgresql+psycopg://host:port/name"}, "database_url"),
        ({"database_url": "sqlite://"}, "database_url"),
        ({"broker_url": "localhost:6379"}, "broker_url"),
        ({"broker_url": "amqp://host/"}, "broker_url"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(values, named):
    with pytest.raises(ValidationError) as caught:
        Settings(**values)
    assert named in str(caught.value)


def test_a_secret_is_neither_shown_nor_told():
    settings = Settings(webhook_secret=SECRET)
    assert SECRET not in repr(settings)
    with pytest.raises(ValidationError) as caught:
        Settings(webhook_secret="my password")
    assert "my password" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "threads"),
    [
        ({}, 6),
        ({"worker_concurrency": 4}, 1),
        ({"worker_concurrency": 9}, 1),
        ({"job_threads": 3, "worker_concurrency": 4}, 3),
    ],
)
def test_a_job_has_its_share_of_the_cores_unless_a_number_is_set(
    monkeypatch, values, threads
):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    assert Settings(_env_file=None, **values).threads_of_job == threads
