"""Recognise an ONNX model: one file, or an archive of it and the files with its weights."""

from convpress.formats import EXPECTED, FIELD
from convpress.gate import bundle, protobuf
from convpress.gate.container import Container
from convpress.refusal import Code, Refusal

_MOST_FIELDS = 100_000  # of a ModelProto itself: opsets, metadata, local functions
_NO_FIELD, _IR_VERSION, _GRAPH = 0, 1, 7
# ir_version, producer_name, producer_version, domain, model_version, doc_string, graph,
# opset_import, metadata_props, training_info, functions, configuration
_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})


def recognise(file: Container) -> bool:
    """Tell whether a file is an ONNX model, or an archive of one.

    Raises:
        Refusal: `model_truncated` for one that is cut short, or what `bundle.read` raises.
    """
    if file.members is not None:
        # A pickle archive stays one, whatever lies beside the pickle.
        is_bundle = "data.pkl" not in file.inner_members and any(
            name.endswith(bundle.SUFFIX) for name in file.members
        )
    else:
        is_bundle = bundle.kind_of(file.path) == "tar"
    if is_bundle:
        bundle.read(file.path)
        return True
    return file.members is None and _is_model_message(file.content)


def _is_model_message(content: memoryview) -> bool:
    """Whether the file is a ModelProto: only its known top-level fields, up to the end."""
    size = len(content)
    seen: set[int] = set()
    problem = None
    try:
        for count, field in enumerate(protobuf.fields(content, 0, size)):
            seen.add(field.number if count < _MOST_FIELDS else _NO_FIELD)
            if not seen <= _MODEL_FIELDS:
                return False
    except protobuf.MalformedMessage as error:
        problem = str(error)
    if problem is None:
        return _GRAPH in seen
    if _IR_VERSION in seen and bytes(content[:1]) == b"\x08":
        raise Refusal(
            Code.MODEL_TRUNCATED,
            f"the ONNX file is cut short or damaged: {problem}",
            field=FIELD,
            expected=EXPECTED,
            got=f"{size} bytes that begin as an ONNX model",
        )
    return False
