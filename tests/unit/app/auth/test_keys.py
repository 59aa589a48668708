"""Keys belong to plainly named owners and have known scopes."""

import pytest

from app.auth import keys


@pytest.mark.parametrize(
    ("owner", "scopes"),
    [("", ["read"]), ("a b", ["read"]), ("x" * 64, ["read"]), ("ann", ["root"])],
)
def test_wrong_keys_are_not_made(session, owner, scopes):
    with pytest.raises(ValueError, match="not"):
        keys.create(session, owner, scopes)
