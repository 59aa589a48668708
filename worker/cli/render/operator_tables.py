"""What an operator looks at: the keys of the service, and the walls of the sandbox."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from worker.cli.render.tables import minute, new_table, plain

if TYPE_CHECKING:  # `submit` renders too, where neither server nor engine are installed
    from app.auth.keys import ApiKey
    from worker.sandbox.doctor import Check

_KEY_TIMES = {
    "created_at": "created",
    "used_at": "last used",
    "expires_at": "expires",
    "revoked_at": "revoked",
}


def walls(walls: "Sequence[Check]") -> Table:
    """Return one row a wall of the sandbox: its promise, its state, and what was observed."""
    table = new_table("wall", "promise", "", "seen")
    for wall in walls:
        state = "stands" if wall.holds else "MISSING"
        table.add_row(wall.name, wall.promise, state, plain(wall.evidence))
    return table


def keys(keys: "Sequence[ApiKey]") -> Table:
    """Return one row a key, within 80 columns and without its secret; times are UTC."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    # whole, to be copied
    table.add_column("id", no_wrap=True)
    table.add_column("owner", overflow="fold")
    table.add_column("scopes", overflow="fold")
    table.add_column("times", no_wrap=True)
    for key in keys:
        times = {word: getattr(key, name) for name, word in _KEY_TIMES.items()}
        lines = [f"{word} {minute(time)}" for word, time in times.items() if time]
        table.add_row(key.id, key.owner, key.scopes, "\n".join(lines))
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
