"""Keys belong to plainly named owners, have known scopes, and end when they are said to."""

from datetime import UTC, datetime, timedelta

import pytest

from app.auth import keys

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("owner", "scopes"),
    [("", ["read"]), ("a b", ["read"]), ("x" * 64, ["read"]), ("ann", ["root"])],
)
def test_wrong_keys_are_not_made(session, owner, scopes):
    with pytest.raises(ValueError, match="not"):
        keys.create(session, owner, scopes)


def test_a_key_that_has_expired_already_is_not_made(session):
    with pytest.raises(ValueError, match="future"):
        keys.create(session, "ann", ["read"], datetime.now(UTC) - HOUR)


def test_an_expired_key_identifies_nobody(session):
    key, token = keys.create(session, "ann", ["read"], datetime.now(UTC) + HOUR)
    session.commit()
    assert keys.verify(session, token).key_id == key.id
    key.expires_at = datetime.now(UTC)
    session.commit()
    assert keys.verify(session, token) is None


def test_a_use_is_written_once_in_a_pause(session):
    key, _ = keys.create(session, "ann", ["read"])
    session.commit()

    def use(pause):
        keys.mark_used(session, key.id, pause)
        session.commit()
        session.refresh(key)
        return key.used_at

    first = use(HOUR)
    assert use(HOUR) == first
    assert use(timedelta(0)) > first
