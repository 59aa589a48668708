"""Recognise a torch.export archive: a zip archive as torch.export.save writes it."""

import re

from convpress.gate.container import Container

_PROGRAM = re.compile(r"models/[^/]+\.json")
# What AOTInductor, MTIA and ExecuTorch compiled: other kinds of files, which have the same frame.
_COMPILED = ("data/aotinductor/", "data/mtia", "data/executorch/")


def recognise_pt2(file: Container) -> bool:
    """Tell whether a file is a zip archive with a program as JSON, and nothing compiled."""
    members = file.inner_members
    has_program = any(_PROGRAM.fullmatch(member) for member in members)
    is_compiled = any(member.startswith(_COMPILED) for member in members)
    return "archive_format" in members and has_program and not is_compiled
