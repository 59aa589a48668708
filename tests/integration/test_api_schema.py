"""The API does what its own description says, whatever is sent to it, with keys and without."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from app.auth import keys

HERE = Path(__file__).parent
MODELS = Path(__file__).parents[1] / "models"


ALL = "examples,coverage,fuzzing,stateful"


# `make test` tries few examples of each call, and no sequences of calls.
@pytest.mark.parametrize(
    ("guarded", "phases", "examples"),
    [
        (True, "fuzzing", "3"),
        pytest.param(True, ALL, "10", marks=pytest.mark.slow),
        pytest.param(False, ALL, "10", marks=pytest.mark.long),
    ],
)
def test_no_request_gets_an_answer_that_is_not_described(
    start_api, tmp_path, guarded, phases, examples
):
    # All that is described is switched on, so that all that is valid can be accepted.
    settings = {
        "api_keys": str(guarded),
        "owner_requests_per_minute": "1000000",
        "owner_unfinished_jobs": "1000000",
        "webhook_secret": f"whsec_{base64.b64encode(bytes(24)).decode()}",
        "model_uri_prefixes": json.dumps([f"{MODELS.as_uri()}/"]),
    }
    with start_api(**settings) as api:
        engine = create_engine(api.sql_url)
        with Session(engine) as session, session.begin():
            _, token = keys.create(session, "ann", ["admin"])
        engine.dispose()
        command = [
            *(
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--config-file",
                HERE / "schemathesis.toml",
            ),
            *(
                "run",
                f"{api.http.base_url}/openapi.json",
                "--checks",
                "all",
                "--phases",
                phases,
            ),
            *(
                "--max-examples",
                os.environ.get("SCHEMATHESIS_EXAMPLES", examples),
                "--seed",
                "1",
            ),
            *(("--header", f"Authorization: Bearer {token}") if guarded else ()),
        ]
        hooks = {"SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(HERE)}
        ended = subprocess.run(
            command,
            env=os.environ | hooks,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-1000:]
