"""Amounts of this process that are not in SQL yet."""

import threading
from collections import defaultdict

from app.db.session import transaction
from app.stats import counters


class PendingAmounts:
    """Amounts by counter and label, added by any thread; a killed process loses them."""

    def __init__(self) -> None:
        self._amounts: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._lock = threading.Lock()

    def add(self, amounts: counters.Amounts) -> None:
        """Add to the amounts, all of them at once."""
        with self._lock:
            for key, amount in amounts.items():
                self._amounts[key] += amount

    def flush(self) -> None:
        """Add the amounts to the sums in SQL; where that fails, keep them for the next flush."""
        with self._lock:
            amounts = dict(self._amounts)
            self._amounts.clear()
        if not amounts:
            return
        try:
            with transaction() as session:
                counters.add(session, amounts)
        except BaseException:
            self.add(amounts)
            raise
