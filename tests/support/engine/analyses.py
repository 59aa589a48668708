"""An analysis of one or more sites with three candidates each."""

from dataclasses import replace

from support.engine.costs import cost_table
from worker.engine.decompose.forms.dac import dac
from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.input_statistics import Uncalibrated
from worker.engine.selection.objective import Objective

GEOMETRY = Convolution((8, 4, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
(FORM,) = dac(GEOMETRY)
ORIGINAL = Candidate(1000, 288, 0.0, nanoseconds=100)
QUICK = Candidate(400, 100, 0.3, FORM, 1, nanoseconds=50)
SLOW = Candidate(500, 150, 0.1, FORM, 2, nanoseconds=200)
UNPRICED = Candidate(450, 120, 0.2, FORM, 3)


def analysed(*candidates, paths=()):
    site = Site(
        "a", "Conv", (8, 4, 3, 3), 1000, GEOMETRY, (Call(1, (8, 8)),), None, 4, paths
    )
    each = SiteCandidates(site, (ORIGINAL, *candidates), None)
    return Analysis(
        (each,), {"a": 0.5}, Uncalibrated("the request asks for no calibration")
    )


def timed(*candidates, paths=()):
    """Return an analysis by a cost table."""
    return replace(analysed(*candidates, paths=paths), table=cost_table())


def objective_of(kind, allowed, total=1000, **options):
    return Objective(
        (BoundBudget(kind.parse("50%"), total, allowed, total),), **options
    )
