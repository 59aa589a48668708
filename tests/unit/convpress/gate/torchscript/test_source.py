"""Source that is deeper than torch's stack stands is refused soon; what exporters write passes."""

import io
import time
import zipfile

import pytest
import torch
from torch import nn

from convpress.gate.torchscript.source import require_safe_source
from convpress.limits import Limits
from convpress.refusal import Refusal

MANY = 20_000


def code_of(body, limits=None):
    """The code of the refusal of a method with this body; None where it passes."""
    lines = "".join(f"  {line}\n" for line in body.splitlines())
    return code_of_files(
        {"code/__torch__/net.py": f"def forward(x: Tensor) -> Tensor:\n{lines}"}
    )


def code_of_files(files):
    started = time.process_time()
    try:
        require_safe_source(files, Limits())
    except Refusal as refusal:
        return str(refusal.code)
    finally:
        assert time.process_time() - started < 20
    return None


CHAINS = {
    "attributes": "y = x" + ".mT" * MANY,
    "indices": "y = x" + "[0]" * MANY,
    "methods": "y = x" + ".relu()" * MANY,
    "sums": "y = x" + " + x" * MANY,
    "sums over lines": "y = (x" + " +\n   x" * MANY + ")",
    "sums over continued lines": "y = x" + " + \\\n x" * MANY,
    "powers": "y = x" + " ** x" * MANY,
    "signs": "y = " + "- " * MANY + "1",
    "signs over lines": "y = (" + "-\n" * MANY + "1)",
    "negations": "y = " + "not " * MANY + "True",
    "conjunctions": "y = True" + " and True" * MANY,
    "conjunctions without a space": "y = 1" + " and 1" * MANY,
    "disjunctions": "y = True" + " or True" * MANY,
    "comparisons": "y = 1" + " == 1" * MANY,
    "identities": "y = x" + " is x" * MANY,
    "memberships": "y = 1" + " in [1]" * MANY,
    "choices": "y = " + "1 if True else " * MANY + "1",
    "branches": "if True:\n  y = 1\n" + "elif True:\n  y = 1\n" * MANY,
    "names of classes": "y = __torch__" + ".a" * MANY + ".b(x)",
    "calls": "y = " + "torch.relu(" * MANY + "x" + ")" * MANY,
    "lists": "y = " + "[" * MANY + "x" + "]" * MANY,
    "types": "y = annotate(" + "List[" * MANY + "int" + "]" * MANY + ", [])",
    "comprehensions": "y = " + "[" * MANY + "1" + " for i in [1]]" * MANY,
    "tuples on the left": "(" * MANY + "y," + ")," * MANY + " = x",
    "assignments": "y = " * MANY + "x",
    "items that are chains": "y = [1, x" + ".mT" * MANY + ", 2]",
    "arguments within a chain": "y = x" + ".add(x.mT, x)" * MANY,
}


@pytest.mark.parametrize("chain", CHAINS)
def test_chains_are_bounded(chain):
    assert code_of(CHAINS[chain]) == "model_over_limit"


@pytest.mark.parametrize(
    "opening", ["if True:", "while True:", "for i in [1]:", "with x:"]
)
def test_blocks_are_bounded(opening):
    blocks = "".join(f"{' ' * depth}{opening}\n" for depth in range(1000))
    assert code_of(blocks + " " * 1000 + "y = 1") == "model_over_limit"


@pytest.mark.parametrize("line", ["\n", "# nothing\n", "\\\n"])
def test_lines_without_a_word_are_bounded(line):
    assert (
        code_of_files({"code/a.py": "x = (1," + line * MANY + "2)"})
        == "model_over_limit"
    )


def test_many_open_calls_of_getattr_end_soon():
    assert code_of("getattr(" * 60 + "x, " * 100_000) == "model_invalid"
    nested = "getattr(" * 30 + "x, " * 100_000 + ', "a")' * 30
    assert code_of(nested) is None


@pytest.mark.parametrize("indent", ["", " "])
def test_functions_that_call_each_other_are_bounded(indent):
    def function(number, count):
        call = (
            f"__torch__.net.f{number + 1}(x)" if number + 1 < count else "torch.relu(x)"
        )
        return f"{indent}def f{number}(x: Tensor) -> Tensor:\n{indent}  return {call}\n"

    for count, code in ((200, None), (1000, "model_over_limit")):
        source = "".join(function(number, count) for number in range(count))
        assert code_of_files({"code/__torch__/net.py": source}) == code


def test_functions_in_files_of_their_own_are_bounded():
    files = {
        f"code/__torch__/f{number}.py": "def call(x: Tensor) -> Tensor:\n"
        f"  return __torch__.f{number + 1}.call(x)\n"
        for number in range(1000)
    }
    assert code_of_files(files) == "model_over_limit"


def test_methods_that_call_each_other_are_bounded():
    methods = "".join(
        f"  def m{number}(self, x: Tensor) -> Tensor:\n    return (self).m{number + 1}(x)\n"
        for number in range(1000)
    )
    source = f"class Net(Module):\n{methods}  def m1000(self, x: Tensor) -> Tensor:\n    return x\n"
    assert code_of_files({"code/__torch__/net.py": source}) == "model_over_limit"


def test_classes_that_hold_each_other_are_bounded():
    source = "".join(
        f"class C{number}(Module):\n  inner : __torch__.net.C{number + 1}\n"
        for number in range(1000)
    )
    assert code_of_files({"code/__torch__/net.py": source}) == "model_over_limit"


@pytest.mark.slow
def test_a_hundred_thousand_definitions_end_soon():
    source = "".join(
        f"def f{n}():\n  return __torch__.net.f{n + 1}()\n" for n in range(30_000)
    )
    assert code_of_files({"code/__torch__/net.py": source}) == "model_over_limit"


def test_definitions_in_a_circle_end():
    source = "".join(
        f"def f{n}():\n  return __torch__.net.f{(n + 1) % 50}()\n" for n in range(50)
    )
    assert code_of_files({"code/__torch__/net.py": source}) is None


@pytest.mark.parametrize(
    ("line", "code"),
    [
        # torch reads 1e5 and then .save, 1 and then if, 0x1 and then a name
        ('y = 1e5.save("f")', "model_invalid"),
        ('y = 1j.save("f")', "model_invalid"),
        ("y = 1if True else 2", "model_invalid"),
        ("y = 0x1", "model_invalid"),
        ("y = 1 # type: torch.save(x)", "model_unsafe"),
        ("y = [1, 2., .5, 1e-05, 1.5E+3, 2j, -9223372036854775807]", None),
    ],
)
def test_numbers_and_comments_hide_nothing(line, code):
    assert code_of(line) == code


@pytest.mark.parametrize(
    "name", ["segment_reduce", "ctc_loss", "_convert_indices_from_coo_to_csr"]
)
def test_operators_that_crash_are_refused_even_where_a_method_has_their_name(name):
    assert code_of(f"y = torch.{name}(x)") is not None
    assert code_of(f"y = ops.aten.{name}(x)") is not None
    laundered = (
        f"def {name}(x: Tensor) -> Tensor:\n  return x\n"
        f"def forward(x: Tensor) -> Tensor:\n  return (x).{name}(x)\n"
    )
    assert code_of_files({"code/a.py": laundered}) == "model_unsafe"


class Branching(nn.Module):
    """A network with as much in a row as a person writes."""

    def forward(self, x: torch.Tensor, kind: int) -> torch.Tensor:
        y = (
            x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
            + x
        )
        y = (
            torch.relu(torch.relu(torch.relu(torch.relu(y))))
            .mT.mT.relu()
            .relu()[0:1][0:1]
        )
        if kind == 0:
            y = y * 2
        elif kind == 1:
            y = y * 3
        elif kind == 2:
            y = -torch.neg(-y)
        else:
            y = y if kind == 3 and y.dim() == 4 and not y.is_complex() else x
        return y


def sources_of(module):
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {
            name.partition("/")[2]: archive.read(name).decode()
            for name in archive.namelist()
            if name.endswith(".py")
        }


def test_what_a_person_writes_passes():
    assert code_of_files(sources_of(torch.jit.script(Branching()))) is None


@pytest.mark.slow
@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_thousand_layers_pass(is_frozen):
    layers = nn.Sequential(*[nn.Linear(2, 2) for _ in range(1000)])
    model = torch.jit.script(layers.eval())
    assert (
        code_of_files(sources_of(torch.jit.freeze(model) if is_frozen else model))
        is None
    )


@pytest.mark.slow
def test_a_long_list_and_many_statements_pass():
    assert code_of(f"y = [{'1, ' * 100_000}]") is None
    assert code_of("y = torch.relu(x)\n" * 10_000) is None


@pytest.mark.parametrize(
    ("line", "code"),
    [
        # scripted encoders of torch 1.12 ask for it
        ("y = torch.__not__(torch.has_torch_function())", None),
        ("y = torch.to_mkldnn(x)", "model_unsupported"),
        ("y = ops.torchvision.nms(x, x, 0.5)", None),
        ("y = ops.torchvision.read_file(x)", "model_unsupported"),
        ("y = ops.torchvision.nms.save(x)", "model_unsafe"),
    ],
)
def test_of_torchvision_the_operators_of_detectors_are_known(line, code):
    assert code_of(line) == code
