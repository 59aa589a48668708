"""A job does without torch's compiler, whose import takes longer than many jobs compute."""

import os
import subprocess
import sys

import pytest
from digits import MODELS

JOB = """
import sys
from pathlib import Path

import pytest
from support.engine.calibrating import calibrate_little
from support.engine.compressing import compressed

calibrate_little(pytest.MonkeyPatch())
options = {"flops_budget": "0.5", "calibration": "synthetic"}
_, report, _ = compressed(Path(sys.argv[1]), "batchnorm.traced.pt", **options)
assert report["calibration"]["kind"] == "distilled", report["calibration"]
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.slow
def test_a_calibrated_torchscript_job_imports_no_compiler(tmp_path):
    paths = os.pathsep.join([str(MODELS.parent), str(MODELS)])
    job = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", JOB, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 0, job.stderr
    assert job.stdout == "False\n"
