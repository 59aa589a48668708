"""Recognise a TorchScript archive: a zip archive as torch.jit.save writes it."""

from convpress.gate.container import Container


def recognise_torchscript(file: Container) -> bool:
    """Tell whether a file is a zip archive with code, constants and data in one folder."""
    members = file.inner_members
    has_code = any(member.startswith("code/") for member in members)
    return has_code and {"constants.pkl", "data.pkl"} <= members
