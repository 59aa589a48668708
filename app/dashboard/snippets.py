"""Commands that repeat a job: for a shell with curl, and for Python."""

import shlex

from app.db.models import Job
from app.settings import get_settings
from convpress.budgets import ALLOW_INCOMPLETE, AT_ANY_PRICE, FLOPS
from convpress.options import ADVICE

_SAMPLES = "samples.npz"
_EVALUATION = "evaluation.npz"


def commands(job: Job, server: str) -> dict[str, str]:
    """Return the commands that repeat a job on a service, by tool."""
    return {"curl": _curl(job, server), "python": _python(job, server)}


def _fields(job: Job) -> dict[str, str]:
    """Return the form fields that repeat a job, but for its files."""
    fields = job.options.as_fields()
    if job.labels:
        fields["labels"] = ",".join(
            f"{name}={value}" for name, value in job.labels.items()
        )
    return fields


def _curl(job: Job, server: str) -> str:
    path = "/advice" if job.kind == ADVICE else "/jobs"
    lines = [f"curl {shlex.quote(server + path)}"]
    if get_settings().api_keys:
        lines.append('-H "Authorization: Bearer $CONVPRESS_KEY"')
    for name, value in _fields(job).items():
        lines.append(f"--form-string {shlex.quote(f'{name}={value}')}")
    if job.samples_sha256:
        lines.append(f"-F samples=@{_SAMPLES}")
    if job.evaluation_sha256:
        lines.append(f"-F evaluation=@{_EVALUATION}")
    lines.append(f"-F {shlex.quote(f'model=@{_curl_filename(job.filename)}')}")
    return " \\\n  ".join(lines)


def _curl_filename(filename: str) -> str:
    """Return a file name in quotes, in which curl reads no options."""
    escaped = filename.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _python(job: Job, server: str) -> str:
    arguments = [repr(job.filename)]
    if job.flops_budget:
        arguments.append(repr(job.flops_budget))
    for name, value in _fields(job).items():
        if name not in (FLOPS.field, AT_ANY_PRICE, ALLOW_INCOMPLETE, "labels"):
            arguments.append(f"{name}={value!r}")
    if job.flops_at_any_price:
        arguments.append(f"{AT_ANY_PRICE}=True")
    if job.allow_incomplete_account:
        arguments.append(f"{ALLOW_INCOMPLETE}=True")
    if job.labels:
        arguments.append(f"labels={dict(job.labels)!r}")
    if job.samples_sha256:
        arguments.append(f"samples={_SAMPLES!r}")
    if job.evaluation_sha256:
        arguments.append(f"evaluation={_EVALUATION!r}")
    has_keys = get_settings().api_keys
    imports = ["import os", ""] if has_keys else []
    key = ', os.environ["CONVPRESS_KEY"]' if has_keys else ""
    lines = [
        *imports,
        "from convpress import Client",
        "",
        f"with Client({server!r}{key}) as client:",
        *_calls(job, ", ".join(arguments)),
    ]
    return "\n".join(lines)


def _calls(job: Job, arguments: str) -> list[str]:
    """Return the lines that post the job and fetch its result."""
    if job.kind == ADVICE:
        return [
            f"    job = client.advise({arguments})",
            "    print(client.advice(job).text)",
        ]
    return [
        f"    job = client.submit({arguments})",
        "    client.wait(job)",
        f"    client.download(job, {'compressed-' + job.filename!r})",
    ]
