"""Units: what a kind of budget counts; one file a unit.

A new unit is a module here with a subclass of `Unit`, and an entry in `UNITS` under the key that
its kind of budget names in `convpress.budgets`.
"""

from convpress.budgets import KINDS
from worker.engine.selection.units.base import Unit
from worker.engine.selection.units.bytes import Bytes
from worker.engine.selection.units.macs import Macs
from worker.engine.selection.units.nanoseconds import Nanoseconds
from worker.engine.selection.units.parameters import Parameters

UNITS: dict[str, Unit] = {
    "macs": Macs(),
    "nanoseconds": Nanoseconds(),
    "parameters": Parameters(),
    "bytes": Bytes(),
}

# a kind of budget without a unit would fail in the middle of a job: it fails at import instead
_uncounted = {kind.unit for kind in KINDS.values()} - UNITS.keys()
if _uncounted:
    raise RuntimeError(
        f"no unit counts what budgets are written in: {sorted(_uncounted)}"
    )

__all__ = ["UNITS", "Unit"]
