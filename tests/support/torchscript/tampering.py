"""TorchScript archives of a small network, whole or tampered with."""

import io
import re
import zipfile
from functools import cache

import torch
from torch import nn


class Plain(nn.Module):
    """A network to be tampered with."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Stateful(Plain):
    """A network whose code runs when it is loaded."""

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return self.conv.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.training = state[1]


@cache
def members_of(kind: type[Plain]) -> dict[str, bytes]:
    """The members of a network's archive, by name below its folder."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(kind().eval()), buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {
            name.partition("/")[2]: archive.read(name) for name in archive.namelist()
        }


def archive(
    members: dict[str, bytes], deflated: str = "", root: str = "model"
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, content in members.items():
            method = (
                zipfile.ZIP_DEFLATED
                if deflated and re.search(deflated, name)
                else zipfile.ZIP_STORED
            )
            out.writestr(zipfile.ZipInfo(f"{root}/{name}"), content, method)
    return buffer.getvalue()


def plain(**changed: bytes | None) -> dict[str, bytes]:
    members = {
        **members_of(Plain),
        **{name: content for name, content in changed.items() if content is not None},
    }
    return {
        name: content
        for name, content in members.items()
        if changed.get(name, b"") is not None
    }


def with_code(
    lines: str, method: str = "forward", kind: type[Plain] = Plain, more: str = ""
) -> bytes:
    """An archive whose `method` begins with other lines."""
    members = dict(members_of(kind))
    [name] = [
        name
        for name, text in members.items()
        if name.endswith(".py") and f"class {kind.__name__}".encode() in text
    ]
    text = members[name].decode()
    body = "".join(f"    {line}\n" for line in lines.splitlines())
    changed, count = re.subn(
        rf"(  def {method}\(.*?\) -> \S+:\n)",
        lambda match: match[1] + body,
        text,
        flags=re.DOTALL,
    )
    assert count == 1, text
    members[name] = (changed + more).encode()
    return archive(members)
