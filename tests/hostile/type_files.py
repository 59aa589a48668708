"""TorchScript archives whose types, constants and modules hold themselves or have no end."""

from collections.abc import Callable, Iterator

from support.torchscript.tampering import Plain, archive, members_of, plain, with_code

File = tuple[str, bytes | Callable[[], bytes], bool]
MODULE = "__torch__.support.torchscript.tampering"


def types() -> Iterator[File]:
    yield from _classes()
    yield from _constants()
    yield from _modules()


def _classes() -> Iterator[File]:
    for what, name, lines in (
        (
            "a-class-that-holds-itself",
            "A",
            f"class A(Module):\n  a : Optional[{MODULE}.A]\n",
        ),
        (
            "classes-in-a-circle",
            "A",
            f"class A(Module):\n  a : Optional[{MODULE}.B]\n"
            f"class B(Module):\n  b : Optional[{MODULE}.A]\n",
        ),
        (
            "a-tuple-that-holds-itself",
            "T",
            f"class T(NamedTuple):\n  a : Optional[{MODULE}.T]\n",
        ),
        (
            "an-interface-that-takes-itself",
            "I",
            f"class I(ModuleInterface):\n  def forward(self: {MODULE}.I, x: {MODULE}.I) -> "
            f"{MODULE}.I:\n    pass\n",
        ),
    ):
        code = with_code(f"y = annotate(Optional[{MODULE}.{name}], None)", more=lines)
        yield f"type-of-{what}", code, False
    unions = "Union[int, Tuple[" * 25 + "int" + "]]" * 25
    yield "type-of-unions-deeply-nested", with_code(f"y = annotate({unions}, 1)"), False
    fields = "".join(f"  f{number} : int\n" for number in range(60_000))
    tuples = with_code(
        f"y = annotate(Optional[{MODULE}.T], None)",
        more=f"class T(NamedTuple):\n{fields}",
    )
    yield "type-of-countless-fields", tuples, False


def _constants() -> Iterator[File]:
    numbers = b"\x80\x02(" + b"K\x01" * 900_000 + b"t."
    yield (
        "constants-of-giant-number",
        archive(plain(**{"constants.pkl": numbers})),
        False,
    )
    yield (
        "constants-of-no-tuple",
        archive(plain(**{"constants.pkl": b"\x80\x02K\x01."})),
        False,
    )
    for what, name in {
        "beyond-their-end": "c999999999999",
        "of-no-number": "evil",
    }.items():
        yield f"constants-{what}", with_code(f"y = CONSTANTS.{name}"), False
    yield "number-of-endless-digits", with_code(f"y = {'9' * 200_000}"), False
    yield (
        "text-that-names-no-letters",
        with_code('y = "\\u{ffffffff}\\N{x}\\777\\x"'),
        False,
    )
    width = 'y = "{:>999999999}".format(1)'
    yield "text-of-giant-number-as-its-width", with_code(width), False


def _modules() -> Iterator[File]:
    tensors = members_of(Plain)["data.pkl"]
    at = tensors.index(b")\x81}(") + 2
    memo = b"\x00\x02\x00\x00"
    within = tensors[:at] + b"r" + memo + tensors[at:].replace(b"N", b"j" + memo, 1)
    yield "module-that-holds-itself", archive(plain(**{"data.pkl": within})), True
    for what, content in {
        "a-number": b"\x80\x02K\x01.",
        "a-class": b"\x80\x02c__torch__.support.torchscript.tampering\nPlain\n.",
        "an-unknown-class": b"\x80\x02c__torch__.evil\nX\n)\x81}b.",
    }.items():
        yield f"module-that-is-{what}", archive(plain(**{"data.pkl": content})), False
    run = b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R."
    # Members for phones: torch.jit.load reads none of them, and the artifact has none.
    for name in ("bytecode.pkl", "mobile_debug_handles.pkl"):
        yield f"member-for-phones-{name}", archive(plain(**{name: run})), False
