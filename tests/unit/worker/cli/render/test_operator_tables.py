"""Keys without their secrets, and the walls of the sandbox."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

from support.service.rendering import shown

from worker.cli import render
from worker.sandbox.doctor import Check

KEY = SimpleNamespace(
    id="k1",
    owner="ann",
    scopes="submit read",
    secret_hash="hash",
    created_at=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
    used_at=None,
    expires_at=None,
    revoked_at=None,
)


def test_a_key_is_shown_to_the_minute_and_without_its_secret():
    text = shown(render.keys([KEY]))
    assert "2026-05-04 03:02" in text
    assert "03:02:01" not in text
    assert "hash" not in text


def test_a_key_in_json_has_exact_times_and_no_secret():
    [record] = json.loads(render.keys_as_json([KEY]))
    assert record == {
        "id": "k1",
        "owner": "ann",
        "scopes": ["submit", "read"],
        "created_at": "2026-05-04T03:02:01+00:00",
        "used_at": None,
        "expires_at": None,
        "revoked_at": None,
    }
    assert json.loads(render.keys_as_json([])) == []


def test_a_wall_that_is_missing_stands_out():
    walls = [Check("files", "a promise", True, "none"), Check("memory", "x", False, "")]
    standing, missing = shown(render.walls(walls)).splitlines()[-3:-1]
    assert "stands" in standing
    assert "MISSING" in missing
