"""The command that shows a report, as a table or as the service's JSON."""

import json

from support.service import fake_engine


def test_a_report_is_shown_or_printed_as_it_is(run, service):
    assert "conv1" in run("report", service.known.id).stdout
    printed = run("report", service.known.id, "--json").stdout
    assert json.loads(printed) == fake_engine.REPORT
