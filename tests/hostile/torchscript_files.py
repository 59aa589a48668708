"""Hostile TorchScript archives: code, pickles and containers."""

import io
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from support.torchscript.tampering import (
    Plain,
    Stateful,
    archive,
    members_of,
    plain,
    with_code,
)


def torchscript(
    outside: Path,
) -> Iterator[tuple[str, bytes | Callable[[], bytes], bool]]:
    secret = outside / "secret"
    written = outside / "written"
    deeds = {
        "reads-a-file": f'y = torch.from_file("{secret}", False, 6, dtype=0)\nprint(y)',
        "writes-a-mapped-file": f'y = torch.from_file("{written}", True, 6, dtype=0)\nz = '
        f"torch.fill_(y, 7)\nprint(z)",
        "saves-a-file": f'torch.save([1], "{written}")',
        "saves-by-namespace": f'ops.aten.save([1], "{written}")',
        "saves-by-method": f'([1]).save("{written}")',
        "saves-by-getattr": f'getattr([1], "save")("{written}")',
        "saves-by-escaped-getattr": f'getattr([1], "\\x73ave")("{written}")',
        "saves-by-alias": f'f = torch\nf.save([1], "{written}")',
        "saves-by-function-alias": f'f = torch.save\nf([1], "{written}")',
        "saves-over-lines": f'torch.\\\n      save([1], "{written}")',
        "saves-behind-a-comment": f'torch . save  # nothing\\\n([1], "{written}")',
        "calls-another-machine": 'ops.prim.rpc_sync("worker", "os.system", [], {})',
        "sets-a-storage": "y = torch.zeros([1])\nz = torch.set_(y, x)",
        "names-an-unknown-operator": "y = ops.evil.run(x)",
        "names-a-class-of-others": 'y = __torch__.torch.classes.evil.Run("x")',
        "names-an-unlisted-operator": "y = torch._sobol_engine_draw(x, 1, x, 1, 1, None)",
    }
    for name, code in deeds.items():
        yield f"forward-{name}", with_code(code), True
        if name in ("reads-a-file", "writes-a-mapped-file", "saves-a-file"):
            yield f"setstate-{name}", with_code(code, "__setstate__", Stateful), True
    endless = "n = 0\nwhile True:\n  n = torch.add(n, 1)"
    bomb = "l = [x]\nfor i in range(100):\n  l = torch.add(l, l)"
    forks = (
        "def __forked_function():\n  return x\n"
        "l = [x]\nwhile True:\n  f = fork(__forked_function)"
    )
    yield "forward-starts-threads-without-end", with_code(forks), True
    yield "setstate-does-nothing-bad", archive(members_of(Stateful)), True
    yield "setstate-loops-for-ever", with_code(endless, "__setstate__", Stateful), True
    yield "forward-loops-for-ever", with_code(endless), False
    yield (
        "forward-loops-a-billion-billion-times",
        with_code("y = x\nfor i in range(1000000000000000000):\n  y = torch.add(y, 1)"),
        False,
    )
    yield "forward-grows-a-list", with_code(bomb), False
    yield (
        "forward-takes-all-memory",
        with_code("y = torch.zeros([100000, 100000, 100])\nprint(y)"),
        False,
    )
    yield "forward-floods-the-log", with_code("while True:\n  print(x)"), False
    yield "forward-calls-itself", with_code("y = (self).forward(x, )"), False
    yield (
        "brackets-nested-deeply",
        with_code(f"y = {'(' * 50_000}x{')' * 50_000}"),
        True,
    )
    yield "prefixes-nested-deeply", with_code(f"y = {'- ' * 100_000}1"), True
    yield (
        "blocks-nested-deeply",
        with_code(
            "".join(f"{' ' * depth}if True:\n" for depth in range(3000))
            + " " * 3000
            + "y = 1"
        ),
        True,
    )
    yield (
        "source-that-is-no-text",
        archive(plain(**{"code/__torch__.py": b"\xff\xfe"})),
        True,
    )
    yield (
        "source-that-is-python",
        archive(
            plain(
                **{
                    "code/__torch__.py": b"import os\nos.system('true')\nx = \xe2\x82\xac"
                }
            )
        ),
        True,
    )
    yield (
        "source-of-endless-words",
        archive(plain(**{"code/__torch__.py": b"a " * 1_200_000})),
        True,
    )
    yield "an-unfinished-string", with_code('y = "'), True
    yield from pickles(outside)
    yield from archives(outside)


STORAGE = b"ctorch\nFloatStorage\n"


def doubled(levels: int) -> bytes:
    """The opcodes of a tuple that holds one tuple twice, and so on: 2 ** levels items in all."""
    opcodes = b"N"
    for level in range(levels):
        key = struct.pack("<I", 1000 + level)
        opcodes += b"r" + key + b"j" + key + b"\x86"
    return opcodes


def _many_axes(tensors: bytes) -> bytes:
    """A pickle of tensors of which the first one has a size for each of countless axes."""
    begin = tensors.index(b"(", tensors.index(b"Q", tensors.index(STORAGE)))
    end = tensors.index(b"t", begin)
    return tensors[: begin + 1] + b"K\x01" * 200_000 + tensors[end:]


def pickles(outside: Path) -> Iterator[tuple[str, bytes, bool]]:
    def data(content: bytes, name: str = "data.pkl") -> bytes:
        return archive(plain(**{name: content}))

    written = str(outside / "written").encode()
    command = b"X" + struct.pack("<I", len(written) + 6) + b"touch " + written
    run = b"cposix\nsystem\n" + command + b"\x85R."
    tensors = members_of(Plain)["data.pkl"]
    yield "pickle-runs-a-command", data(b"\x80\x02" + run), True
    yield "constants-run-a-command", data(b"\x80\x02" + run, "constants.pkl"), True
    yield (
        "notes-run-a-command",
        data(b"\x80\x02" + run, "code/__torch__.py.debug_pkl"),
        True,
    )
    yield (
        "pickle-evaluates",
        data(b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R."),
        True,
    )
    yield (
        "pickle-of-protocol-4",
        data(b"\x80\x04\x8c\x05posix\x8c\x06system\x93."),
        True,
    )
    yield "pickle-with-an-instance", data(b"(iposix\nsystem\n."), True
    yield "pickle-with-an-extension", data(b"\x80\x02\x82\x01."), True
    yield (
        "pickle-of-a-giant-memo",
        data(b"\x80\x02Nr\xff\xff\xff\xff" + b"}" * 3 + b"."),
        True,
    )
    yield (
        "pickle-of-a-giant-array",
        data(b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"."),
        True,
    )
    yield (
        "pickle-of-a-giant-number",
        data(b"\x80\x02\x8b" + struct.pack("<I", 1 << 30) + b"."),
        True,
    )
    yield (
        "pickle-of-a-giant-text",
        data(b"\x80\x02X" + struct.pack("<I", 1 << 31) + b"."),
        True,
    )
    yield "pickle-nested-deeply", data(b"\x80\x02N" + b"\x85" * 100_000 + b"."), True
    yield "pickle-of-marks", data(b"\x80\x02" + b"(" * 100_000 + b"."), True
    yield "pickle-that-holds-itself", data(b"\x80\x02]q\x00h\x00a."), True
    yield "pickle-of-endless-steps", data(b"\x80\x02" + b"N" * 1_100_000 + b"."), True
    yield "pickle-without-end", data(tensors[:-1]), True
    at = tensors.index(STORAGE)
    kind = tensors[:at] + doubled(60) + tensors[at + len(STORAGE) :]
    yield "pickle-multiplies-as-a-storage-kind", data(kind), True
    yield "pickle-multiplies-as-a-key", data(b"\x80\x02}" + doubled(60) + b"Ns."), True
    yield (
        "notes-multiply-as-a-key",
        data(b"\x80\x02}" + doubled(60) + b"Ns.", "code/__torch__.py.debug_pkl"),
        True,
    )
    tag = b"List[" * 60_000 + b"int" + b"]" * 60_000
    tagged = (
        b"ctorch.jit._pickle\nrestore_type_tag\n]X" + struct.pack("<I", len(tag)) + tag
    )
    yield "pickle-of-a-type-nested-deeply", data(b"\x80\x02" + tagged + b"\x86R."), True
    yield "pickle-of-countless-axes", data(_many_axes(tensors)), True
    yield (
        "pickle-names-a-class-of-torch",
        data(
            b"\x80\x02c__torch__.torch.classes.quantized\nConv2dPackedParamsBase\n)\x81K\x01b."
        ),
        True,
    )
    yield "inputs-run-a-command", data(b"\x80\x02" + run, "traced_inputs.pkl"), True
    yield "extra-file-runs-a-command", data(b"\x80\x02" + run, "extra/labels"), True
    yield (
        "extra-file-runs-a-command-as-text",
        data(b"I0x10\n0cposix\nsystem\n(Vtrue\ntR.", "extra/labels.txt"),
        True,
    )
    yield "extra-file-is-an-archive", data(archive(plain()), "extra/model.zip"), True
    yield "pickle-with-more-behind", data(tensors + run), True
    yield "pickle-that-pops-nothing", data(b"\x80\x02R."), True
    yield "pickle-of-no-memo", data(b"\x80\x02h\x07."), True
    yield "pickle-that-is-empty", data(b""), True
    reference = re.search(
        rb"X\x03\x00\x00\x00cpu(?:q.)?(K.|M..|J....)", tensors, re.DOTALL
    )
    assert reference
    start, end = reference.span(1)
    yield (
        "storage-larger-than-its-file",
        data(tensors[:start] + b"J\xff\xff\xff\x7f" + tensors[end:]),
        True,
    )
    yield (
        "storage-of-a-negative-size",
        data(tensors[:start] + b"J\xff\xff\xff\xff" + tensors[end:]),
        True,
    )
    at = tensors.index(b"Q", end) + 1
    yield (
        "tensor-behind-its-storage",
        data(tensors[:at] + b"M\xff\xff" + tensors[at + 2 :]),
        True,
    )
    yield (
        "tensor-before-its-storage",
        data(tensors[:at] + b"J\xf0\xff\xff\xff" + tensors[at + 2 :]),
        True,
    )
    sizes = tensors.index(b"(", at)
    yield (
        "tensor-of-giant-sizes",
        data(tensors[: sizes + 1] + b"J\xff\xff\xff\x7f" + tensors[sizes + 3 :]),
        True,
    )
    yield (
        "storage-in-another-file",
        data(tensors.replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x007", 1)),
        True,
    )
    yield (
        "storage-of-no-numbers",
        data(tensors.replace(b"\x03\0\0\0cpu", b"\x04\0\0\0meta")),
        True,
    )
    yield (
        "storage-of-objects",
        data(tensors.replace(b"ctorch\nFloatStorage\n", b"ctorch\nObjectStorage\n")),
        True,
    )


def archives(outside: Path) -> Iterator[tuple[str, bytes | Callable[[], bytes], bool]]:
    whole = plain()
    good = archive(whole)
    named = {
        "..-in-a-name": "../../../../../../tmp/evil",
        "an-absolute-name": "/etc/evil",
        "a-backslash": "..\\evil",
    }
    for what, name in named.items():
        yield f"archive-with-{what}", archive({**whole, f"extra/{name}": b"x"}), True
    yield "archive-with-a-strange-name", archive({**whole, "extra/\x1b[2J": b"x"}), True
    yield (
        "archive-of-two-folders",
        _appended(whole, zipfile.ZipInfo("other/data/9"), b"x"),
        True,
    )
    for what, mode in {"a-symbolic-link": 0o120777, "a-folder": 0o040755}.items():
        info = zipfile.ZipInfo("model/extra/link")
        info.external_attr = mode << 16 | (0x10 if what == "a-folder" else 0)
        yield f"archive-with-{what}", _appended(whole, info, b"/etc/passwd"), True
    yield (
        "archive-with-an-unknown-member",
        archive({**whole, "autoexec.bat": b"x"}),
        True,
    )
    yield (
        "archive-with-a-member-twice",
        _appended(whole, zipfile.ZipInfo("model/data.pkl"), b"\x80\x02N."),
        True,
    )
    yield "archive-with-compressed-tensors", archive(whole, deflated=r"^data/"), True
    yield (
        "zip-bomb",
        lambda: archive(
            {**whole, "code/bomb.py": bytes(130 * 1024**2)}, deflated="bomb"
        ),
        True,
    )
    yield (
        "zip-bomb-of-many-files",
        lambda: archive(
            {**whole, **{f"extra/{n}": b"ab" * 500_000 for n in range(150)}}, "extra"
        ),
        True,
    )
    info = zipfile.ZipInfo("model/extra/other")
    info.compress_type = zipfile.ZIP_BZIP2
    yield "archive-of-another-compression", _appended(whole, info, b"x" * 100), True
    yield (
        "archive-of-countless-members",
        lambda: archive({**whole, **{f"extra/{n}": b"" for n in range(21_000)}}),
        True,
    )
    yield "archive-cut-short", good[: len(good) * 2 // 3], True
    yield "archive-behind-a-program", b"\x7fELF" + bytes(60) + good, True
    yield (
        "archive-behind-a-page",
        b"PK\x03\x04<html><script>alert(1)</script></html>" + good,
        True,
    )
    yield "archive-before-a-program", good + b"#!/bin/sh\ntrue\n", True
    directory = good.rindex(b"PK\x01\x02")
    first = good.index(b"PK\x01\x02")
    end = good.rindex(b"PK\x05\x06")
    yield "archive-with-a-comment", good[:-2] + b"\x04\x00evil", True
    yield (
        "encrypted-member",
        good[: directory + 8] + b"\x01" + good[directory + 9 :],
        True,
    )
    yield (
        "offset-that-lies",
        good[: directory + 42] + struct.pack("<I", 0) + good[directory + 46 :],
        True,
    )
    yield (
        "size-that-lies",
        good[: first + 20] + struct.pack("<II", 1 << 30, 1 << 30) + good[first + 28 :],
        True,
    )
    yield (
        "size-that-lies-in-one-half",
        good[: first + 24] + struct.pack("<I", 1 << 30) + good[first + 28 :],
        True,
    )
    yield (
        "count-that-lies",
        good[: end + 8] + struct.pack("<HH", 1, 1) + good[end + 12 :],
        True,
    )
    yield (
        "directory-that-lies",
        good[: end + 16] + struct.pack("<I", 4) + good[end + 20 :],
        True,
    )
    yield (
        "names-that-differ",
        good.replace(b"model/data.pkl", b"model/atad.pkl", 1),
        True,
    )
    broken = bytearray(good)
    broken[good.index(b"class Plain")] ^= 1
    yield "checksum-that-lies", bytes(broken), True


def _appended(
    members: dict[str, bytes], info: zipfile.ZipInfo, content: bytes
) -> bytes:
    buffer = io.BytesIO(archive(members))
    with zipfile.ZipFile(buffer, "a") as out, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name that is there already
        out.writestr(info, content)
    return buffer.getvalue()
