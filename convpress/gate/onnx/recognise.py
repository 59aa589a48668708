"""Recognise an ONNX model: one file, or an archive of it and the files with its weights."""

from convpress.formats import EXPECTED, FIELD
from convpress.gate import bundle, protobuf
from convpress.gate.container import Container
from convpress.gate.mapped import fields
from convpress.refusal import Code, Refusal

# Fields of a ModelProto itself: opsets, metadata, local functions.
_MOST_FIELDS = 100_000
# The tag of a ModelProto's first field, ir_version, as all exporters write it.
_IR_VERSION_TAG = b"\x08"
_NO_FIELD = 0
_IR_VERSION = 1
_GRAPH = 7
# ir_version, producer_name, producer_version, domain, model_version, doc_string, graph,
# opset_import, metadata_props, training_info, functions, configuration
_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})


def recognise_onnx(file: Container) -> bool:
    """Tell whether a file is an ONNX model, or an archive of one.

    Raises:
        Refusal: `model_truncated` for a model that is cut short, or the codes of `bundle.read`.
    """
    if _is_bundle(file):
        bundle.read(file.path)
        return True
    return file.members is None and _is_message(file.content)


def _is_bundle(file: Container) -> bool:
    if file.members is None:
        return bundle.kind_of(file.path) == "tar"
    # A pickle archive stays one, whatever lies beside the pickle.
    if file.has_inner("data.pkl"):
        return False
    return any(name.endswith(bundle.SUFFIX) for name in file.members)


def _is_message(content: memoryview) -> bool:
    """Whether a file is a ModelProto: known top-level fields, and nothing after them."""
    size = len(content)
    numbers: set[int] = set()
    problem = None
    try:
        for count, field in enumerate(fields(content, 0, size)):
            is_bounded = count < _MOST_FIELDS
            numbers.add(field.number if is_bounded else _NO_FIELD)
            if not numbers <= _MODEL_FIELDS:
                return False
    except protobuf.MalformedMessage as error:
        problem = str(error)
    if problem is None:
        return _GRAPH in numbers
    begins_as_model = _IR_VERSION in numbers and bytes(content[:1]) == _IR_VERSION_TAG
    if begins_as_model:
        raise Refusal(
            Code.MODEL_TRUNCATED,
            f"the ONNX file is cut short or damaged: {problem}",
            field=FIELD,
            expected=EXPECTED,
            got=f"{size} bytes that begin as an ONNX model",
        )
    return False
