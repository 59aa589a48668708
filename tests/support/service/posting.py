"""Submissions as the API receives them, and jobs posted by them."""

from dataclasses import fields, replace
from pathlib import Path

from app.jobs import commands
from app.storage import get_storage
from app.uploads.submission import Submission
from app.uploads.upload import Upload
from convpress.options import JobOptions

_OPTIONS = {each.name for each in fields(JobOptions)}


def submission(number=0, samples=None, **members):
    """A submission that brings its model along; `members` are its own, or those of its options."""
    with get_storage().stage() as staged:
        staged.write(b"model")
    upload = Upload(Path(staged.name), f"{number:064}", 5, "onnx")
    options = JobOptions(
        {"flops_budget": "0.5"}, samples_sha256=samples and samples.sha256
    )
    options = replace(
        options, **{name: members.pop(name) for name in _OPTIONS & members.keys()}
    )
    defaults = {"sha256": upload.sha256, "filename": "net.onnx", "upload": upload}
    return Submission(**{**defaults, "options": options, "samples": samples, **members})


def post(session, number=0, key=None, **members):
    return commands.create(session, get_storage(), submission(number, **members), key)[
        0
    ]
