"""Amounts that wait for the database are written once, and none is lost without it."""

import pytest
from sqlalchemy.exc import OperationalError

from app.db.session import transaction
from app.stats import counters, pending
from app.stats.pending import PendingAmounts

ONE = {("name", "label"): 1.0}


def sums():
    with transaction() as session:
        return counters.read(session)


def away():
    raise OperationalError("", {}, Exception("away"))


def test_amounts_are_added_up_and_written_once(settings):
    amounts = PendingAmounts()
    amounts.add(ONE)
    amounts.add({**ONE, ("name", "other"): 0.5})
    amounts.flush()
    amounts.flush()
    assert sums() == {("name", "label"): 2.0, ("name", "other"): 0.5}


def test_nothing_is_lost_while_the_database_is_away(settings, monkeypatch):
    amounts = PendingAmounts()
    amounts.add(ONE)
    with monkeypatch.context() as broken:
        broken.setattr(pending, "transaction", away)
        with pytest.raises(OperationalError):
            amounts.flush()
        amounts.add(ONE)
    amounts.flush()
    amounts.flush()
    assert sums() == {("name", "label"): 2.0}


def test_no_amounts_need_no_database(monkeypatch):
    monkeypatch.setattr(pending, "transaction", away)
    amounts = PendingAmounts()
    amounts.flush()
    amounts.add({})
    amounts.flush()
