"""TorchScript sources that are small as text, and crash torch when it compiles or runs them."""

from collections.abc import Callable, Iterator
from functools import partial

from support.torchscript.tampering import with_code

MODULE = "__torch__.support.torchscript.tampering"

CHAINS = {
    "attributes-in-a-row": "y = x" + ".mT" * 200_000,
    "indices-in-a-row": "y = x" + "[0]" * 200_000,
    "methods-in-a-row": "y = x" + ".relu()" * 100_000,
    "sums-over-lines": "y = (x" + " +\n   x" * 200_000 + ")",
    "negations-in-a-row": "y = " + "not " * 200_000 + "True",
    "conjunctions-in-a-row": "y = 1" + " and 1" * 200_000,
    "choices-in-a-row": "y = " + "1 if True else " * 100_000 + "1",
    "branches-in-a-row": "if True:\n  y = 1\n" + "elif True:\n  y = 1\n" * 50_000,
    "assignments-in-a-row": "y = " * 200_000 + "x",
    "loops-nested-deeply": "".join(f"{' ' * n}while True:\n" for n in range(1000))
    + " " * 1000
    + "y = 1",
    "lists-nested-deeply": f"y = {'[' * 60_000}x{']' * 60_000}",
    "types-nested-deeply": f"y = annotate({'List[' * 60_000}int{']' * 60_000}, [])",
    "comments-in-a-row": "y = x\n" + "# nothing\n" * 200_000 + "z = x",
    "continued-lines-in-a-row": "y = x + " + "\\\n" * 400_000 + "x",
}
"""Bodies of methods that are small as text, and kill torch by the depth of its recursion."""


def sources() -> Iterator[tuple[str, bytes | Callable[[], bytes], bool]]:
    yield from chains()
    yield from crashes()


def chains() -> Iterator[tuple[str, Callable[[], bytes], bool]]:
    for name, body in CHAINS.items():
        yield f"source-of-{name}", partial(with_code, body), True
    yield "source-of-functions-nested-deeply", nested_functions, True
    yield "source-of-methods-nested-deeply", nested_methods, True
    yield "source-of-classes-nested-deeply", nested_classes, True


def nested_functions() -> bytes:
    functions = "".join(
        f"def f{n}(x: Tensor) -> Tensor:\n  return {MODULE}.f{n + 1}(x)\n"
        for n in range(5000)
    )
    return with_code(
        f"y = {MODULE}.f0(x)", more=f"{functions}def f5000(x: Tensor):\n  return x\n"
    )


def nested_methods() -> bytes:
    methods = "".join(
        f"  def m{n}(self: {MODULE}.Plain, x: Tensor) -> Tensor:\n    return (self).m{n + 1}(x)\n"
        for n in range(5000)
    )
    last = f"  def m5000(self: {MODULE}.Plain, x: Tensor) -> Tensor:\n    return x\n"
    return with_code("y = (self).m0(x)", more=methods + last)


def nested_classes() -> bytes:
    classes = "".join(
        f"class C{n}(Module):\n  c : {MODULE}.C{n + 1}\n" for n in range(5000)
    )
    return with_code(
        f"y = annotate(Optional[{MODULE}.C0], None)",
        more=f"{classes}class C5000:\n  c : int\n",
    )


CRASHES = {
    "lengths-beyond-a-tensor": "y = torch.segment_reduce(x, 'sum', lengths=torch.full([1], "
    "4611686018427387904), unsafe=True)",
    "negative-sparse-indices": "y = torch._convert_indices_from_coo_to_csr(torch.full([4], "
    "-1073741824, dtype=4), 4)",
    "statistics-without-elements": "y = torch._batch_norm_with_update(x, None, None, "
    "torch.zeros([0]), torch.zeros([0]), 0.1, 0.1)",
    "targets-beyond-all-classes": "y = torch.ctc_loss(x, x, [1073741824], [1073741824])",
}
"""Calls of operators that read outside of their tensors."""


def crashes() -> Iterator[tuple[str, bytes, bool]]:
    for name, line in CRASHES.items():
        yield f"operator-with-{name}", with_code(line), True
    # Networks divide sizes, and this ends the process.
    divides = (
        "n = torch.size(x, 0)\nx = torch.add(x, torch.remainder(n, torch.sub(n, n)))"
    )
    yield "operator-that-divides-by-zero", with_code(divides), False
