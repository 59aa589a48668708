"""Factorisation of layers: `forms/` has one file a form, the other files are what forms share."""

from worker.engine.decompose.base import Factorisation, Rank
from worker.engine.decompose.forms import FORMS, Form
from worker.engine.decompose.target import Target

__all__ = ["FORMS", "Factorisation", "Form", "Rank", "Target"]
