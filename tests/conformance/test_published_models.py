"""Published models keep their promises: exported architectures, packaged files, Debian's test data.

They lie in the folder that CONVPRESS_PUBLISHED_MODELS names; `benchmarks/zoo` says how to fill it.
"""

import os
from itertools import chain
from pathlib import Path

import pytest
from zoo.cases import KINDS
from zoo.check import checked

FOLDER = os.environ.get("CONVPRESS_PUBLISHED_MODELS")
if FOLDER is None:
    pytest.skip("CONVPRESS_PUBLISHED_MODELS is not set", allow_module_level=True)

CASES = {kind: list(cases(Path(FOLDER))) for kind, cases in KINDS.items()}
ALL = list(chain.from_iterable(CASES.values()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_there_are_models_of_each_kind(kind):
    assert CASES[kind]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_published_model_keeps_its_promises(tmp_path, case):
    assert checked(case, "0.6", "none", tmp_path)["wrong"] == []
