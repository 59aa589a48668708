"""Hostile torch.export archives: functions, expressions, structures, and sizes that lie."""

import io
import json
import zipfile
from pathlib import Path

from pt2_acts import Files, acting
from support.pt2.archives import (
    LEAF,
    PROGRAM,
    WEIGHTS,
    calls,
    container,
    members,
    node,
    treespec,
    with_members,
    with_node,
    with_program,
    with_size,
    with_weight,
)

TARGETS = (
    "torch.save",
    "torch.hub.load",
    "torch.load",
    "torch.os.system",
    "torch.ops.load_library",
    "torch.ops.aten.conv2d.__class__",
    "torch.ops.aten.from_file.default",
    "torch.ops.aten.set_.source_Tensor",
    "torch.ops.aten._embedding_bag.default",
    "torch.ops.aten.add.out",
    "torch.ops.aten.pop.t",
    "torch.ops.profiler._record_function_enter.default",
    "torch.ops.higher_order.triton_kernel_wrapper_mutation",
    "torch.ops.higher_order.run_const_graph",
    "_operator.call",
    "_operator.lshift",
    "_operator.attrgetter",
    "math.factorial",
    "os.system",
    "#evil:run",
    "",
)
EXPRESSIONS = (
    "__import__('os').system('true')",
    "Symbol('s0').__class__",
    "s0.func",
    "lambda: 0",
    "s0 if s0 else s0",
    "[s0]",
    "'s0'",
    "Symbol('open')",
    "open",
    "Float('1', precision=999999999)",
    "LShift(Integer(1), Integer(99999999))",
    "factorial(Integer(99999999))",
    "Symbol('s0', commutative=open)",
    "s0; s0",
    "s0\n",
    "",
)
GIANTS = (
    "Pow(Integer(9), Integer(999999999))",
    "2**99999999",
    "Pow(Pow(Pow(Integer(9), Integer(30)), Integer(30)), Integer(30))",
    "Mul(" + ", ".join(["Integer(9223372036854775807)"] * 40) + ")",
    "+".join(["s0"] * 9000),
    "(" * 200 + "s0" + ")" * 200,
    "2**" * 900 + "2",
    "-" * 3000 + "s0",
)


def pt2_files(outside: Path) -> Files:
    """Yield all files; those that act write a file into `outside`."""
    yield from acting(lambda _: outside / "written")
    yield from _pickles()
    yield from _programs()
    yield from _tensors()
    yield from _containers()


def _pickles() -> Files:
    def without_meta(entry: dict) -> None:
        entry.update(tensor_meta=None)

    yield "weight-that-is-an-object", with_weight(without_meta), True
    yield (
        "custom-object-beside-the-constants",
        with_members({"data/constants/custom_obj_0": b"x"}),
        True,
    )
    yield (
        "extra-file-runs-a-pickle",
        with_members({"extra/notes": b"\x80\x02cos\nsystem\n(X\x04\0\0\0truetR."}),
        True,
    )


def _programs() -> Files:
    for number, target in enumerate(TARGETS):
        yield f"target-that-is-python-{number}", with_node(node(target)), True
    for number, expression in enumerate(EXPRESSIONS):
        yield f"expression-that-is-python-{number}", with_size(expression), True
    for number, expression in enumerate(GIANTS):
        yield f"giant-number-of-an-expression-{number}", with_size(expression), True
    yield (
        "argument-that-is-python",
        with_node(node("_operator.add", {"as_operator": "torch.save"})),
        True,
    )
    for name, spec in _structures().items():
        yield (
            f"structure-that-is-python-{name}",
            with_program(
                lambda program, spec=spec: calls(program).update(in_spec=spec)
            ),
            True,
        )
    yield (
        "counter-of-sizes-without-end",
        with_program(
            lambda program: program["range_constraints"].update(
                u99999999999={"min_val": 0, "max_val": 1}
            )
        ),
        True,
    )
    yield "graphs-deeply-nested", _nested(40), True
    yield "brackets-deeply-nested", with_members({PROGRAM: b"[" * 100_000}), True
    yield (
        "member-of-an-object-twice",
        with_members({PROGRAM: b'{"a": 1, "a": 2}'}),
        True,
    )
    yield "number-that-json-lacks", with_members({PROGRAM: b'{"a": NaN}'}), True
    yield (
        "giant-number",
        with_members({PROGRAM: b'{"a": ' + b"9" * 100_000 + b"}"}),
        True,
    )
    yield (
        "memory-of-giant-array",
        lambda: with_members({PROGRAM: b"[" + b"[]," * 5_000_000}),
        True,
    )


def _structures() -> dict[str, str]:
    factory = {
        "default_factory_module": "this",
        "default_factory_name": "d",
        "dict_context": [],
    }
    member = json.dumps([{"__enum__": True, "fqn": "this:d", "name": "x"}])
    deep = LEAF
    for _ in range(400):
        deep = container("builtins.tuple", "null", deep)
    keyword = container("builtins.dict", '["a=print(), b"]', LEAF)
    call = container(
        "builtins.tuple", "null", container("builtins.tuple", "null"), keyword
    )
    return {
        "keyword": treespec(call),
        "factory": treespec(
            {**container("collections.defaultdict", ""), "context": factory}
        ),
        "enumeration": treespec(container("builtins.dict", member, LEAF)),
        "class": treespec(container("evil.Output", "null", LEAF)),
        "deep": treespec(deep),
        "text": "[",
        "protocol": '[2, "builtins.tuple"]',
    }


def _nested(depth: int) -> bytes:
    """Graphs within graphs, in operators that run them."""
    inner = {
        "inputs": [],
        "outputs": [],
        "nodes": [],
        "tensor_values": {},
        "sym_int_values": {},
        "sym_bool_values": {},
    }
    for _ in range(depth):
        call = node(
            "torch.ops.higher_order.wrap_with_set_grad_enabled",
            {"as_bool": False},
            {"as_graph": {"name": "inner", "graph": inner}},
        )
        inner = {**inner, "nodes": [call]}
    return with_node(*inner["nodes"])


def _tensors() -> Files:
    def sizes(*values: int) -> list[dict]:
        return [{"as_int": value} for value in values]

    metas = {
        "weight-larger-than-its-storage": {"sizes": sizes(400, 1, 3, 3)},
        "weight-behind-its-storage": {"storage_offset": {"as_int": 1}},
        "weight-before-its-storage": {"storage_offset": {"as_int": -1}},
        "tensor-with-a-negative-size": {"sizes": sizes(-4, 1, 3, 3)},
        "tensor-with-a-negative-stride": {"strides": sizes(-9, 9, 3, 1)},
        "tensor-size-overflow": {"sizes": sizes(2**62, 2**62, 3, 3)},
        "giant-tensor-of-one-element": {
            "sizes": sizes(2**31, 1, 1, 1),
            "strides": sizes(0, 0, 0, 0),
        },
        "weight-whose-type-differs": {"dtype": 8},
        "weight-of-no-number-of-a-type": {"dtype": 99},
        "sparse-tensor-of-sizes": {"layout": 1},
        "tensor-size-of-another-device": {"device": {"type": "cuda", "index": 0}},
    }
    for name, meta in metas.items():
        yield (
            name,
            with_weight(lambda entry, meta=meta: entry["tensor_meta"].update(meta)),
            True,
        )
    giant = {"sizes": sizes(2**20, 2**20), "strides": sizes(2**20, 1)}
    yield (
        "giant-tensor-of-no-bytes",
        with_weight(
            lambda entry: entry["tensor_meta"].update(giant),
            {"data/weights/weight_0": b""},
        ),
        True,
    )
    for path in (
        "../model.json",
        "/etc/passwd",
        "model_weights_config.json",
        "weight_999",
    ):
        yield (
            f"storage-in-a-path-{len(path)}",
            with_weight(lambda entry, path=path: entry.update(path_name=path)),
            True,
        )
    yield (
        "storage-of-no-tensor",
        with_members({"data/weights/weight_99": b"xxxx"}),
        True,
    )


def _containers() -> Files:
    yield "unknown-member", with_members({"evil": b"x"}), True
    yield "member-of-another-program", with_members({"models/other.json": b"{}"}), True
    yield "member-that-is-missing", with_members({WEIGHTS: None}), True
    yield "bytes-behind-the-directory", with_members({}) + b"evil", True
    yield "archive-cut-short", with_members({})[:-400], True
    yield (
        "storage-that-is-compressed-differs",
        with_members({}, deflated=("data/weights/weight_0",)),
        True,
    )
    yield (
        "bomb-of-a-program",
        lambda: with_members({PROGRAM: b" " * 200_000_000}, deflated=(PROGRAM,)),
        True,
    )
    yield "archive-of-two-folders", _moved("net/data", "evil/data"), True
    yield "member-in-a-path", _moved("net/byteorder", "net/../tmp/evil"), True
    yield "link-to-a-file", _linked(), True
    for name, content in {
        "archive_version": b"1",
        "byteorder": b"big",
        "archive_format": b"pt",
    }.items():
        yield f"{name}-that-differs", with_members({name: content}), True
    for version in ("2.8.0", "2.15.0", "<=2.4", "9" * 5000):
        yield (
            f"version-that-differs-{version[:6]}",
            with_program(
                lambda program, version=version: program.update(torch_version=version)
            ),
            True,
        )


def _moved(old: str, new: str) -> bytes:
    """The small archive with a part of names replaced."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members(with_members({})).items():
            archive.writestr(zipfile.ZipInfo(f"net/{name}".replace(old, new)), content)
    return buffer.getvalue()


def _linked() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members(with_members({})).items():
            info = zipfile.ZipInfo(f"net/{name}")
            if name == "byteorder":
                info.external_attr = 0o120777 << 16
            archive.writestr(info, content)
    return buffer.getvalue()
