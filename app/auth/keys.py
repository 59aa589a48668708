"""API keys and their scopes. A key is shown once; the database stores only its hash."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, get_args

from sqlalchemy import String, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db.models import Base
from convpress.text.spelling import did_you_mean

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
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]

    def is_valid(self, at: datetime) -> bool:
        """Tell whether the key is neither revoked nor expired."""
        is_expired = self.expires_at is not None and self.expires_at <= at
        return self.revoked_at is None and not is_expired


class Caller(NamedTuple):
    """The owner of the request's key, the key's scopes and its id."""

    owner: str
    scopes: frozenset[str]
    key_id: str

    @property
    def is_admin(self) -> bool:
        """Whether the caller may see and do everything, for the jobs of all owners."""
        return "admin" in self.scopes

    def may(self, scope: Scope) -> bool:
        """Tell whether the caller has a scope, or is an admin."""
        return self.is_admin or scope in self.scopes


def check(owner: str, scopes: Sequence[str], expires_at: datetime | None) -> None:
    """Refuse a key that cannot be made; this needs no database.

    Raises:
        ValueError: the owner is not a plain name, a scope does not exist, or the key would have
            expired already.
    """
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise ValueError(
            f"a key expires in the future, not at {expires_at:%Y-%m-%d %H:%M}"
        )
    if not _OWNER.fullmatch(owner):
        raise ValueError(
            f"an owner is a name of up to 63 letters, digits and ._@-, not {owner[:80]!r}"
        )
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        hint = did_you_mean(unknown[0], SCOPES) if unknown else ""
        raise ValueError(
            f"scopes are {', '.join(SCOPES)}, not {', '.join(unknown) or 'none'}{hint}"
        )


def create(
    session: Session,
    owner: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Add a key, and return it with its token, which is not stored.

    Raises:
        ValueError: as `check` raises it.
    """
    check(owner, scopes, expires_at)
    number = secrets.token_hex(8)
    secret = secrets.token_urlsafe(32)
    key = ApiKey(
        id=number,
        owner=owner,
        scopes=" ".join(sorted(set(scopes))),
        secret_sha256=_sha256(secret),
        created_at=datetime.now(UTC),
        expires_at=expires_at,
    )
    session.add(key)
    return key, f"cp_{number}_{secret}"


def listed(session: Session) -> Sequence[ApiKey]:
    """Return all keys, revoked and expired ones too, oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()


def revoke(session: Session, number: str) -> bool:
    """Revoke a key at once, and return whether there was a valid one."""
    key = session.get(ApiKey, number)
    if key is None or key.revoked_at is not None:
        return False
    key.revoked_at = datetime.now(UTC)
    return True


def mark_used(session: Session, number: str, pause: timedelta) -> None:
    """Note that a key is used now, unless a use within the last `pause` is noted already."""
    moment = datetime.now(UTC)
    is_old = or_(ApiKey.used_at.is_(None), ApiKey.used_at <= moment - pause)
    used = update(ApiKey).where(ApiKey.id == number, is_old).values(used_at=moment)
    session.execute(used.execution_options(synchronize_session=False))


def verify(session: Session, token: str) -> Caller | None:
    """Return the caller that a token identifies; None if it is unknown, revoked or expired."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    number, secret = match.groups()
    key = session.get(ApiKey, number)
    if key is None or not key.is_valid(datetime.now(UTC)):
        return None
    # In constant time: the duration of a comparison that stops early tells how far it came.
    if not hmac.compare_digest(key.secret_sha256, _sha256(secret)):
        return None
    return Caller(key.owner, frozenset(key.scopes.split()), key.id)


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
