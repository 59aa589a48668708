"""Names in pickles: what passes, what is honest but unsupported, and what is unsafe."""

import pytest

from convpress.gate.torchscript.globals import (
    LONGEST_NAME,
    is_own,
    require_known_global,
)
from convpress.refusal import Refusal


@pytest.mark.parametrize(
    "name",
    [
        "torch FloatStorage",
        "torch._utils _rebuild_tensor_v2",
        "torch.jit._pickle build_intlist",
        "collections OrderedDict",
        "__torch__.net Net",
        "__torch__.torch.nn.modules.conv.___torch_mangle_3 Conv2d",
    ],
)
def test_what_a_model_needs_passes(name):
    require_known_global(name, "data.pkl")


@pytest.mark.parametrize(
    ("name", "code", "advice"),
    [
        ("torch._utils _rebuild_qtensor", "model_unsupported", "quantised"),
        (
            "__torch__.torch.classes.quantized Conv2dPackedParamsBase",
            "model_unsupported",
            "quantised",
        ),
        ("torch._utils _rebuild_sparse_tensor", "model_unsupported", "dense"),
        (
            "__torch__.torch.classes.xnnpack Conv2dOpContext",
            "model_unsupported",
            "optimize_for_mobile",
        ),
        ("os system", "model_unsafe", "plain containers"),
        ("builtins eval", "model_unsafe", "plain containers"),
        ("__torch__.torch.classes.other Thing", "model_unsafe", "plain containers"),
        ("torch._utils _rebuild_tensor_v2\n", "model_unsafe", "plain containers"),
        ("__torch__.net Net\n", "model_unsafe", "plain containers"),
    ],
)
def test_other_names_are_refused_with_advice(name, code, advice):
    with pytest.raises(Refusal) as refused:
        require_known_global(name, "data.pkl")
    assert refused.value.code == code
    assert advice in refused.value.expected


def test_a_name_is_the_models_own_up_to_a_length():
    prefix = "__torch__."
    assert is_own(prefix + "a" * (LONGEST_NAME - len(prefix)))
    assert not is_own(prefix + "a" * (LONGEST_NAME - len(prefix) + 1))
