"""The API does what its own description says, whatever is sent to it, with keys and without."""

import os
import subprocess
import sys

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from app import keys

pytest.importorskip("schemathesis")


@pytest.mark.parametrize("guarded", [pytest.param(False, marks=pytest.mark.slow), True])
def test_no_request_gets_an_answer_that_is_not_described(start_api, tmp_path, guarded):
    with start_api(api_keys=str(guarded), owner_requests_per_minute="1000000", owner_unfinished_jobs="1000") as api:
        engine = create_engine(api.sql_url)
        with Session(engine) as session, session.begin():
            _, token = keys.create(session, "ann", ["admin"])
        engine.dispose()
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.http.base_url}/openapi.json"),
            *("--checks", "all", "--max-examples", os.environ.get("SCHEMATHESIS_EXAMPLES", "10"), "--seed", "1"),
            # Bytes that a schema allows are seldom a model, and a text seldom a cursor.
            *("--exclude-checks", "positive_data_acceptance"),
            *(("--header", f"Authorization: Bearer {token}") if guarded else ()),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-1000:]
