"""Forms: the ways in which one convolution becomes several cheaper ones; one file a form.

A new form is a module here with a subclass of `Factorisation` and two functions of a `Convolution`
(see `Form`), and an entry in `FORMS`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from worker.engine.decompose.base import Factorisation
from worker.engine.decompose.forms.dac import dac, why_not_dac
from worker.engine.decompose.forms.grouped import grouped, why_not_grouped
from worker.engine.decompose.forms.low_rank import low_rank, why_not_low_rank
from worker.engine.decompose.forms.pointwise_first import (
    pointwise_first,
    why_not_pointwise_first,
)
from worker.engine.decompose.forms.spatial import spatial, why_not_spatial
from worker.engine.decompose.forms.tucker2 import tucker2, why_not_tucker2
from worker.engine.numerics.convolution import Convolution


class Form(NamedTuple):
    """A form's applicability and its factorisations.

    `why_not` says why the form does not apply to a geometry; None where it does. `factorisations`
    takes a geometry to which it applies.
    """

    why_not: Callable[[Convolution], str | None]
    factorisations: Callable[[Convolution], tuple[Factorisation, ...]]


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "dac": Form(why_not_dac, dac),
        "grouped": Form(why_not_grouped, grouped),
        "spatial": Form(why_not_spatial, spatial),
        "tucker2": Form(why_not_tucker2, tucker2),
        "pointwise-first": Form(why_not_pointwise_first, pointwise_first),
        "low-rank": Form(why_not_low_rank, low_rank),
    }
)
