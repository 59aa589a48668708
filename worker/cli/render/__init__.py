"""Reports, inspections and lists as tables for a terminal."""

from worker.cli.render.advice_table import advice
from worker.cli.render.job_tables import as_json, job, jobs
from worker.cli.render.layer_tables import inspection, sites
from worker.cli.render.model_facts import overview
from worker.cli.render.operator_tables import keys, keys_as_json, walls
from worker.cli.render.report_tables import account, evidence, summary
from worker.cli.render.tables import console

__all__ = [
    "account",
    "advice",
    "as_json",
    "console",
    "evidence",
    "inspection",
    "job",
    "jobs",
    "keys",
    "keys_as_json",
    "overview",
    "sites",
    "summary",
    "walls",
]
