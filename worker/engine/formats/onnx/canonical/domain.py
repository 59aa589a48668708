"""The domain of ONNX's own operators, which has two names: the empty one and `ai.onnx`."""

from collections.abc import MutableSequence

from onnx import ModelProto, NodeProto, OperatorSetIdProto

from worker.engine.formats.onnx.graph import OWN_DOMAINS, all_nodes

_OTHER_NAME = "ai.onnx"


def use_one_domain(model: ModelProto) -> None:
    """Give ONNX's own operators the empty domain everywhere; the checker knows no other name."""
    _merge_imports(model.opset_import)
    for function in model.functions:
        _merge_imports(function.opset_import)
        for node in all_nodes(function.node):
            _rename(node)
    for node in all_nodes(model.graph.node):
        _rename(node)


def _rename(node: NodeProto) -> None:
    if node.domain == _OTHER_NAME:
        node.domain = ""


def _merge_imports(imports: MutableSequence[OperatorSetIdProto]) -> None:
    """Leave one entry for the domain, with the newest version, where there are two."""
    own = [entry for entry in imports if entry.domain in OWN_DOMAINS]
    if not any(entry.domain == _OTHER_NAME for entry in own):
        return
    first, *others = own
    first.version = max(entry.version for entry in own)
    first.domain = ""
    for entry in others:
        imports.remove(entry)
