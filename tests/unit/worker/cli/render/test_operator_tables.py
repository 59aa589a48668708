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


def test_keys_fit_80_columns_and_keep_ids_and_times_whole():
    time = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)
    times = dict.fromkeys(("created_at", "used_at", "expires_at", "revoked_at"), time)
    members = vars(KEY) | times | {"id": "0123456789abcdef", "owner": "x" * 63}
    lines = shown(render.keys([SimpleNamespace(**members)]), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    for text in ("0123456789abcdef", "last used 2026-05-04 03:02", "revoked 2026"):
        assert any(text in line for line in lines)


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
