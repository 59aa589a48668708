"""Hostile models, made here: what files can do to a service that opens them, one function a kind.

`python tests/hostile/corpus.py FOLDER` writes them all.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal

from bundle_files import bundles
from dialect_files import dialects
from network_files import networks, references
from onnx_files import onnx_files
from program_files import PORT, programs
from pt2_files import pt2_files
from source_files import sources
from torchscript_files import torchscript
from type_files import types

Kind = Literal["torchscript", "onnx", "pt2", "bundle", "program"]


@dataclass(frozen=True)
class Hostile:
    """One file. `refused` says whether its container gives it away, before anything is opened.

    A large file has a function for its source: every process that collects tests lists them all.
    """

    kind: Kind
    name: str
    source: bytes | Callable[[], bytes]
    refused: bool

    @cached_property
    def content(self) -> bytes:
        """The file's bytes."""
        return self.source if isinstance(self.source, bytes) else self.source()

    @property
    def format(self) -> Literal["torchscript", "onnx", "pt2"]:
        """What it claims to be."""
        if self.kind == "torchscript" or self.kind == "pt2":
            return self.kind
        return "onnx"

    @property
    def title(self) -> str:
        """Its name among all files."""
        return f"{self.kind}: {self.name}"

    @property
    def threat(self) -> str:
        """What it threatens: the class that it is of."""
        return next(
            threat for threat, words in THREATS.items() if re.search(words, self.name)
        )


THREATS = {
    "lies about what came out": r"^(says|speaks|progresses|fails|leaves-(?!a-daemon)|reports)",
    "network": r"calls-another|calls-by|listens",
    "processes and threads": r"attaches|fork-bomb|thread|daemon$|starts-a|keeper",
    "rights": (
        r"^(becomes|changes-its-root|mounts|makes-a-(namespace|file|mark)|"
        r"lifts|takes-rights)"
    ),
    "files at load": r"setstate-(reads|writes|saves|does)|at-load$",
    "files at run": (
        r"^(forward-(reads|writes|saves)|reads-(a-file|the)|"
        r"writes-(a-file|into)|lists|removes|renames)|"
        r"^makes-a|at-run$"
    ),
    "code in a pickle": (
        r"pickle-(runs|evaluates|of-protocol|with-an|names)|(constants|notes|inputs|file)-run|"
        r"extra-file"
    ),
    "operators beyond arithmetic": (
        r"sets-a-storage|names-an?-|is-python|operator-(with|that)|target-that"
    ),
    "endless work": (
        r"loops|for-ever|floods|forward-calls-itself|told-to-end|"
        r"(repeats|folders)-without|endless"
    ),
    "memory and disk": r"all-memory|grows|giant-(file|memo|array|number|text)|opens-countless",
    "archive bombs": r"bomb|of-countless-(members|files)",
    "links": r"link",
    "names that are paths": (
        r"in-(an-absolute|a-path)|with-(\.\.|an-absolute|a-path|a-backslash|a-strange)|"
        r"weights-in-(?!two)|device|pipe|folder|unknown-member|another-key"
    ),
    "giant tensors": (
        r"(tensor|storage|input|sparse).*"
        r"(giant|larger|overflow|negative|countless|size)"
    ),
    "memory outside a tensor": r"(behind|before)-its-storage|another-file|storage-of",
    "deep nesting": r"deeply|marks|multipl|in-a-row|over-lines$",
    "cycles": r"circle|itself",
    "offsets and sizes that lie": (
        r"lies|differ|offset|length|of-no-number|"
        r"two-contents|too-little|beyond|cut-short"
    ),
    "polyglots": r"behind|before|disguise|comment|two|twice|one-name",
    "malformed": r"",
}
"""Words of a file's name, by class; the first that is found decides."""


def corpus(outside: Path, port: int = PORT) -> list[Hostile]:
    """All hostile files; `outside` is the folder that they try to read from and write to, `port`
    where they call.
    """
    makers: dict[Kind, Iterator[tuple[str, bytes | Callable[[], bytes], bool]]] = {
        "torchscript": chain(torchscript(outside), sources(), types()),
        "onnx": chain(onnx_files(outside), networks()),
        "pt2": pt2_files(outside),
        "bundle": chain(bundles(outside), dialects(), references()),
        "program": programs(outside, port),
    }
    return [Hostile(kind, *file) for kind, files in makers.items() for file in files]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for each in corpus(Path(os.devnull).parent):
        suffix = {"torchscript": "pt", "program": "py"}.get(each.kind, each.kind)
        (folder / f"{each.kind}-{each.name}.{suffix}").write_bytes(each.content)
