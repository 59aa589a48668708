"""API keys and their scopes. A key is shown once; the database stores only its hash."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, get_args

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db.models import Base

Scope = Literal[
    "submit",  # post jobs, and cancel or delete one's own
    "read",  # see one's own jobs, and download their files
    "metrics",  # read /metrics, and nothing else
    "admin",  # everything, for the jobs of all owners
]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_TOKEN = re.compile(r"cp_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


class ApiKey(Base):
    """One key of an owner. A random secret of 256 bits needs no salt and no slow hash."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    owner: Mapped[str] = mapped_column(String(63), index=True)
    scopes: Mapped[str] = mapped_column(String(64))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Caller(NamedTuple):
    """The owner of the request's key, and the key's scopes."""

    owner: str
    scopes: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """Whether the caller may see and do everything, for the jobs of all owners."""
        return "admin" in self.scopes

    def may(self, scope: Scope) -> bool:
        """Tell whether the caller has a scope, or is an admin."""
        return self.is_admin or scope in self.scopes


def create(session: Session, owner: str, scopes: Sequence[str]) -> tuple[ApiKey, str]:
    """Add a key, and return it with its token, which is not stored.

    Raises:
        ValueError: the owner is not a plain name, or a scope does not exist.
    """
    if not _OWNER.fullmatch(owner):
        raise ValueError(
            f"an owner is a name of up to 63 letters, digits and ._@-, not {owner[:80]!r}"
        )
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise ValueError(
            f"scopes are {', '.join(SCOPES)}, not {', '.join(sorted(unknown)) or 'none'}"
        )
    number = secrets.token_hex(8)
    secret = secrets.token_urlsafe(32)
    key = ApiKey(
        id=number,
        owner=owner,
        scopes=" ".join(sorted(set(scopes))),
        secret_sha256=_sha256(secret),
        created_at=datetime.now(UTC),
    )
    session.add(key)
    return key, f"cp_{number}_{secret}"


def listed(session: Session) -> Sequence[ApiKey]:
    """Return all keys, revoked ones too, oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()


def revoke(session: Session, number: str) -> bool:
    """Revoke a key at once, and return whether there was a valid one."""
    key = session.get(ApiKey, number)
    if key is None or key.revoked_at is not None:
        return False
    key.revoked_at = datetime.now(UTC)
    return True


def verify(session: Session, token: str) -> Caller | None:
    """Return the caller that a token identifies; None if it is unknown or revoked."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    number, secret = match.groups()
    key = session.get(ApiKey, number)
    if key is None or key.revoked_at is not None:
        return None
    # In constant time: the duration of a comparison that stops early tells how far it came.
    if not hmac.compare_digest(key.secret_sha256, _sha256(secret)):
        return None
    return Caller(key.owner, frozenset(key.scopes.split()))


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
