"""Targets of nodes: operators that compute, by their names in torch, and arithmetic of sizes."""

import math
import operator

import pytest
import torch

from convpress.gate.pt2.operators import ATEN, OVERLOADS, SIZES, target
from convpress.refusal import Refusal


def refusal_of(text):
    with pytest.raises(Refusal) as refusal:
        target(text, "node")
    return refusal.value


def schemas():
    """The schemas of all operators that pass, as torch has them."""
    for name in ATEN:
        packet = getattr(torch.ops.aten, name)
        for overload in set(packet.overloads()) & OVERLOADS:
            yield f"torch.ops.aten.{name}.{overload}", getattr(packet, overload)._schema


def test_every_operator_is_one_of_torch():
    known = {text.split(".")[3] for text, _ in schemas()}
    assert known == ATEN


def test_every_operator_passes_and_reaches_no_file():
    for text, schema in schemas():
        target(text, "node")
        types = [str(part.type) for part in (*schema.arguments, *schema.returns)]
        # A file is named by a text; modes of operators on tensors are texts as well.
        on_tensors = any("Tensor" in each for each in types)
        assert on_tensors or not any("str" in each for each in types[:1]), text
        assert "filename" not in [argument.name for argument in schema.arguments]
        assert not any(argument.is_out for argument in schema.arguments), text


def test_arithmetic_of_sizes_is_that_of_torch():
    modules = {"_operator": operator, "math": math, "torch": torch}
    for text in SIZES:
        target(text, "node")
        module, name = text.split(".")
        assert callable(getattr(modules[module], name))


@pytest.mark.parametrize(
    "text",
    [
        "torch.ops.aten.conv2d.default",
        "torch.ops.aten._native_batch_norm_legit_no_training.default",
        "torch.ops.aten.scaled_dot_product_attention.default",
        "torch.ops.aten.sym_size.int",
        "torch.ops.aten.upsample_nearest2d.vec",
        "torch.ops.higher_order.cond",
        "torch.ops.higher_order.wrap_with_set_grad_enabled",
        "_operator.floordiv",
    ],
)
def test_what_networks_need_passes(text):
    target(text, "node")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "conv2d",
        "torch.nn.functional.conv2d",
        "torch.ops.aten.conv2d",
        "torch.ops.aten.conv2d.default.__call__",
        "torch.ops.aten.conv2d.op",
        "torch.ops.aten.conv2d.overloads",
        "torch.ops.aten.__class__.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.add.out",
        "torch.ops.aten.sorted.str",
        "torch.ops.aten._segment_reduce_backward.default",
        "torch.ops.aten.resize_.default",
        "torch.ops.aten.conv2d.default\n",
        "_operator.getitem",
        "_operator.methodcaller",
        "math.sqrt",
        "builtins.eval",
        "#ext:op",
    ],
)
def test_other_functions_are_unsafe(text):
    assert refusal_of(text).code == "model_unsafe"


@pytest.mark.parametrize(
    "text",
    [
        "torch.ops.torchvision.nms.default",
        "torch.ops.higher_order.while_loop",
        "torch.ops.a.b",
    ],
)
def test_other_packages_are_named(text):
    refusal = refusal_of(text)
    assert refusal.code == "model_unsupported"
    assert text in refusal.detail
    assert "export the network" in refusal.detail
