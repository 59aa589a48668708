"""Jobs and reports as the command line shows them on a terminal."""

import json

from rich.console import Console

from convpress.report import Report
from convpress.schemas import Job
from support.service import fake_engine
from worker.sandbox.account_parser import read

HOSTILE = "[red]conv[/red]\x1b]0;title\x07\n"


def shown(*parts, width=160):
    """Return the text that a terminal shows for these tables and texts."""
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


def report(**site):
    """Return a report of one layer, with these members of the layer."""
    changed = [{**fake_engine.REPORT["sites"][0], **site}]
    return read(Report, json.dumps({**fake_engine.REPORT, "sites": changed}).encode())


def example_job():
    """Return the job of the API's description, which has succeeded."""
    example = Job.model_config["json_schema_extra"]["example"]
    return Job.model_validate_json(json.dumps(example))
