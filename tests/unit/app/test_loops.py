"""A loop that fails is logged, counted and tried again, ever more seldom."""

import pytest
from sqlalchemy.exc import OperationalError

from app import loops
from app.db.session import transaction
from app.loops import Backoff
from app.stats import pending, queries
from app.stats.pending import PendingAmounts


def test_pauses_double_up_to_the_longest_and_a_success_forgets_them():
    backoff = Backoff("test", 1.0, 5.0)
    assert backoff.after(None) == 1.0
    assert [backoff.after(ValueError("x")) for _ in range(4)] == [2.0, 4.0, 5.0, 5.0]
    assert backoff.after(None) == 1.0
    assert Backoff("test", 9.0, 5.0).after(ValueError("x")) == 9.0


def test_failures_are_counted_for_all_processes_as_soon_as_sql_answers(
    client, monkeypatch
):
    monkeypatch.setattr(
        loops, "_failures", PendingAmounts()
    )  # without those of other tests
    loops.note_failure("sweeper", KeyError("x"))
    loops.note_failure("sweeper", KeyError("y"))
    with monkeypatch.context() as without_sql:

        def away():
            raise OperationalError("SELECT", {}, ConnectionError("away"))

        without_sql.setattr(pending, "transaction", away)
        with pytest.raises(OperationalError):
            loops.flush()
    loops.flush()
    loops.flush()
    with transaction() as session:
        assert queries.service_statistics(session).loop_failures == {
            ("sweeper", "KeyError"): 2
        }
    line = 'convpress_loop_failures_total{error="KeyError",loop="sweeper"} 2.0'
    assert line in client.get("/metrics").text
