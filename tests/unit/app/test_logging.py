"""Log lines: JSON, of the application and of its libraries."""

import json
import subprocess
import sys


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )


def test_logs_are_json_lines_of_the_application_and_of_its_libraries():
    code = """
import logging, structlog
from app.logging import configure_logging
configure_logging("INFO")
with structlog.contextvars.bound_contextvars(request_id="r-1"):
    structlog.get_logger("app.x").info("mine", job_id="7")
    logging.getLogger("uvicorn.error").warning("theirs %s", "too")
    logging.getLogger("uvicorn.access").info("a line that the application writes itself")
    logging.getLogger("app.x").debug("too small")
    try:
        1 / 0
    except ZeroDivisionError:
        structlog.get_logger("app.x").exception("failed")
"""
    lines = [json.loads(line) for line in run(code).stderr.splitlines()]
    assert [line["event"] for line in lines] == ["mine", "theirs too", "failed"]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert {line["request_id"] for line in lines} == {"r-1"}
    assert all(line["timestamp"].endswith("Z") and line["logger"] for line in lines)
    assert "ZeroDivisionError" in lines[2]["exception"]
    assert lines[0]["job_id"] == "7"
