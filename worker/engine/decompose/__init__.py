"""Forms: the ways in which one convolution becomes several cheaper ones; one file a form.

A new form is a module here with a function from a `Layer` to a `Factorisation`, and an entry in `FORMS`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from worker.engine.convolution import Convolution, Layer
from worker.engine.decompose.dac import dac, why_not_dac
from worker.engine.decompose.factorisation import Factorisation

Form = tuple[Callable[[Convolution], str | None], Callable[[Layer], Factorisation]]
"""Why a form does not apply to a geometry (None where it does), and its factorisation of a layer."""

FORMS: Mapping[str, Form] = MappingProxyType({"dac": (why_not_dac, dac)})

__all__ = ["FORMS", "Factorisation", "Form"]
