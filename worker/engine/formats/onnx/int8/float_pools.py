"""Pools of floats before layers in int8, which the runtime is kept from computing in 8 bits.

ONNX Runtime moves a QuantizeLinear from behind a MaxPool to the place before it. Behind a layer of
floats no layout suits pools in 8 bits: they take far longer than in floats.
"""

from onnx import ModelProto, helper

from worker.engine.formats.onnx.graph import fresh_name, names, operator


def keep_pools_in_floats(model: ModelProto) -> None:
    """Append a Clip without limits between each MaxPool of floats and its QuantizeLinear, in place.

    The runtime moves nothing across it, and then removes it. The nodes are not in order then.
    """
    used_names = names(model.graph)
    rounded: set[str] = set()
    for node in model.graph.node:
        if operator(node) == "DequantizeLinear":
            rounded.update(node.output)
    pools: set[str] = set()
    for node in model.graph.node:
        if operator(node) == "MaxPool" and node.input[0] not in rounded:
            pools.add(node.output[0])
    # a tensor has one QuantizeLinear
    behind = [
        node
        for node in model.graph.node
        if operator(node) == "QuantizeLinear" and node.input[0] in pools
    ]
    for node in behind:
        [pooled, *_] = node.input
        node.input[0] = fresh_name(f"{pooled}_float", used_names)
        name = fresh_name(f"{pooled}_Clip", used_names)
        clip = helper.make_node("Clip", [pooled], [node.input[0]], name)
        model.graph.node.append(clip)
