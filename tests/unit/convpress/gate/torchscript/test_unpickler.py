"""A pickle is followed in a bounded time, whatever it shares, repeats or nests."""

import struct
import time

import pytest

from convpress.gate.torchscript.pickles import PickleCheck, StepBudget
from convpress.gate.torchscript.unpickler import PlainUnpickler, Unpickler
from convpress.limits import Limits
from convpress.refusal import Refusal

NET = b"c__torch__.net\nNet\n)\x81"


STORAGE = b"ctorch\nFloatStorage\n"


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(content):
    return b"X" + struct.pack("<I", len(content)) + content


def doubled(levels):
    """A tuple that holds a tuple twice, and so on: 2 ** levels items of a few bytes each."""
    parts = [b"N"]
    for level in range(levels):
        key = struct.pack("<I", level)
        parts += [b"r" + key, b"j" + key, b"\x86"]
    return b"".join(parts)


def refused(pickle, sizes=None, name="data.pkl", limits=None):
    limits = limits or Limits()
    check = PickleCheck(sizes or {}, limits, StepBudget(limits))
    started = time.process_time()
    try:
        if name.endswith(".debug_pkl"):
            check.require_plain(b"\x80\x02" + pickle, name)
        else:
            check.require_safe(b"\x80\x02" + pickle, name)
        code = None
    except Refusal as refusal:
        code = str(refusal.code)
    assert time.process_time() - started < 10
    return code


PLACES = {
    "a storage's kind": lambda value: (
        b"(" + text(b"storage") + value + text(b"0") + b"NK\x01tQ."
    ),
    "a storage's key": lambda value: (
        b"(" + text(b"storage") + STORAGE + value + text(b"cpu") + b"K\x01tQ."
    ),
    "a key": lambda value: b"}" + value + b"Ns.",
    "one of many keys": lambda value: b"}(" + text(b"a") + b"N" + value + b"Nu.",
    "a tensor's sizes": lambda value: (
        REBUILD
        + b"(("
        + text(b"storage")
        + STORAGE
        + text(b"0")
        + text(b"cpu")
        + b"K\x01tQK\x00"
        b"" + value + b")NNtR."
    ),
    "a function": lambda value: value + b")R.",
    "a type": lambda value: (
        b"ctorch.jit._pickle\nrestore_type_tag\n]" + value + b"\x86R."
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_tuple_that_doubles_is_never_walked(place):
    assert refused(PLACES[place](doubled(60)), {"data/0": 4}) in (
        "model_unsafe",
        "model_invalid",
    )


def test_a_tuple_that_doubles_is_harmless_as_a_value():
    assert refused(NET + doubled(60) + b"b.") is None


def test_notes_have_no_keys_that_torch_would_hash_without_end():
    pickle = b"}" + doubled(60) + b"Ns."
    assert refused(pickle, name="code/__torch__.py.debug_pkl") == "model_unsafe"


def test_a_shape_is_walked_once_and_has_few_axes():
    shape = b"(" + b"K\x01" * 200_000 + b"tq\x00"
    storage = (
        b"(" + text(b"storage") + STORAGE + text(b"0") + text(b"cpu") + b"K\x01tQq\x01"
    )
    tensor = REBUILD + b"q\x02(h\x01K\x00h\x00h\x00NNtR"
    pickle = shape + storage + tensor + b"."
    assert refused(pickle, {"data/0": 4}) == "model_over_limit"


def test_a_long_name_of_a_storage_is_not_copied_for_every_use():
    name = text(b"x" * 8_000_000) + b"q\x00"
    use = b"(" + text(b"storage") + STORAGE + b"h\x00NK\x00tQ"
    assert refused(b"](" + name + use * 50_000 + b"e.") == "model_unsafe"


def test_a_long_name_of_a_type_is_not_read_for_every_use():
    name = text(b"List[" * 60 + b"int" + b"]" * 60) + b"q\x00"
    use = b"ctorch.jit._pickle\nrestore_type_tag\n]h\x00\x86R"
    assert refused(b"](" + name + use * 50_000 + b"e.") is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (b"List[" * 100_000 + b"int" + b"]" * 100_000, "model_invalid"),
        (b"List[" * 1000 + b"int" + b"]" * 1000, "model_over_limit"),
        (b"__torch__" + b".a" * 1000, "model_over_limit"),
        (b"__torch__.torch.classes.quantized.Conv2dPackedParamsBase", "model_unsafe"),
        (b"Dict[str, List[Tensor]]", None),
    ],
)
def test_types_are_parsed_by_torch_and_must_be_shallow(name, code):
    pickle = b"ctorch.jit._pickle\nrestore_type_tag\n]" + text(name) + b"\x86R."
    assert refused(pickle) == code


@pytest.mark.parametrize(
    "name",
    [
        b"__torch__.torch.classes\nquantized.Conv2dPackedParamsBase",
        b"__torch__\ntorch.classes.xnnpack.LinearOpContext",
        b"__torch__.torch\nclasses.xnnpack.LinearOpContext",
        b"__torch__ .torch.classes.a\nB",
        b"__torch__\n",
    ],
)
def test_classes_of_torch_itself_are_refused(name):
    assert refused(b"c" + name + b"\n)\x81K\x01b.") == "model_unsafe"


@pytest.mark.parametrize(
    "name",
    [
        b"__torch__.torch.classes.quantized\nLinearPackedParamsBase",
        b"__torch__.torch.classes.rnn\nCellParamsBase",
        b"__torch__.torch.classes.sparse\nLinearPackedParamsBase",
        b"torch._utils\n_rebuild_sparse_tensor",
    ],
)
def test_honest_models_that_are_quantised_or_sparse_are_unsupported(name):
    assert refused(b"c" + name + b"\n)\x81K\x01b.") == "model_unsupported"


def test_own_classes_pass_however_torch_has_renamed_them():
    assert refused(b"c__torch__.___torch_mangle_3.net\nNet\n)\x81}b.") is None


TENSOR = {
    "whole": ((2, 3), (3, 1), 0, None),
    "a part": ((2,), (1,), 4, None),
    "empty": ((0, 3), (3, 1), 6, None),
    "a repeated number": ((100,), (0,), 5, None),
    "one beyond": ((2, 3), (3, 1), 1, "model_invalid"),
    "far steps": ((2,), (6,), 0, "model_invalid"),
    "a start beyond": ((0,), (1,), 7, "model_invalid"),
}


@pytest.mark.parametrize(
    ("sizes", "strides", "offset", "code"), TENSOR.values(), ids=TENSOR
)
def test_a_tensor_stays_within_its_storage(sizes, strides, offset, code):
    def axes(numbers):
        return b"(" + b"".join(b"K" + bytes([number]) for number in numbers) + b"t"

    storage = b"(" + text(b"storage") + STORAGE + text(b"0") + text(b"cpu") + b"K\x06tQ"
    place = b"K" + bytes([offset]) + axes(sizes) + axes(strides)
    pickle = REBUILD + b"(" + storage + place + b"NNtR."
    assert refused(pickle, {"data/0": 24}) == code
    assert refused(pickle, {"data/0": 23}) == "model_invalid"


def test_a_value_within_itself_is_unsafe():
    assert refused(b"]q\x00h\x00a.") == "model_unsafe"


def test_a_step_that_does_not_fit_the_stack_is_no_pickle_of_torch():
    unpickler = Unpickler("data.pkl", {}, Limits())
    with pytest.raises(IndexError):
        unpickler.run("APPEND", b"")
    unpickler.run("NONE", b"")
    unpickler.run("NONE", b"")
    with pytest.raises(ValueError, match="2 values at its end"):
        unpickler.run("STOP", b"")


def test_notes_hold_plain_values_alone():
    unpickler = PlainUnpickler("notes", {}, Limits())
    unpickler.run("GLOBAL", b"torch.jit._pickle\nbuild_intlist\n")
    for opcode, argument in (("GLOBAL", b"collections\nOrderedDict\n"), ("BUILD", b"")):
        with pytest.raises(Refusal) as refusal:
            unpickler.run(opcode, argument)
        assert refusal.value.code == "model_unsafe"
