"""The operators without products: none of them is counted, and ONNX knows them."""

import onnx
import pytest

from worker.engine.formats.onnx.profile.node_use import OPERATORS
from worker.engine.formats.onnx.profile.without_products import WITHOUT_PRODUCTS


def test_no_operator_is_on_both_lists():
    assert not WITHOUT_PRODUCTS & OPERATORS


def test_every_operator_of_onnx_has_a_rule_or_no_products():
    """A newer onnx brings new operators, which must not go uncounted in silence."""
    own = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    without_rule = {"LinearAttention"}
    control_flow = {"If", "Loop", "Scan", "SequenceMap"}
    assert own - OPERATORS - WITHOUT_PRODUCTS - control_flow <= without_rule | {
        "CausalConvWithState"
    }


@pytest.mark.parametrize(
    "name",
    [
        "com.microsoft::BiasGelu",
        "com.microsoft.nchwc::MaxPool",
        "ai.onnx.ml::Scaler",
        "SimplifiedLayerNormalization",
    ],
)
def test_operators_of_other_domains_have_their_domain(name):
    assert name in WITHOUT_PRODUCTS
