"""What an operator looks at: the keys of the service, and the walls of the sandbox."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from worker.cli.render.tables import minute, new_table, plain

if TYPE_CHECKING:  # `submit` renders too, where neither server nor engine are installed
    from app.auth.keys import ApiKey
    from worker.sandbox.doctor import Check

_KEY_TIMES = ("created_at", "used_at", "expires_at", "revoked_at")


def walls(walls: "Sequence[Check]") -> Table:
    """Return one row a wall of the sandbox: its promise, its state, and what was observed."""
    table = new_table("wall", "promise", "", "seen")
    for wall in walls:
        state = "stands" if wall.holds else "MISSING"
        table.add_row(wall.name, wall.promise, state, plain(wall.evidence))
    return table


def keys(keys: "Sequence[ApiKey]") -> Table:
    """Return one row a key, without its secret; times are UTC."""
    table = new_table(
        "id", "owner", "scopes", "created", "last used", "expires", "revoked"
    )
    for key in keys:
        times = (key.created_at, key.used_at, key.expires_at, key.revoked_at)
        table.add_row(key.id, key.owner, key.scopes, *(minute(time) for time in times))
    return table


def keys_as_json(keys: "Sequence[ApiKey]") -> str:
    """Return keys, without their secrets, as a JSON array; times are UTC, in ISO 8601."""
    records = []
    for key in keys:
        times = {name: getattr(key, name) for name in _KEY_TIMES}
        written = {
            name: time.isoformat() if time else None for name, time in times.items()
        }
        records.append(
            {"id": key.id, "owner": key.owner, "scopes": key.scopes.split(), **written}
        )
    return json.dumps(records, indent=2)
