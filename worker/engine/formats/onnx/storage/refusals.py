"""Refusals of ONNX files that cannot be read."""

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal


def invalid_file(detail: str, got: str) -> Refusal:
    """Return the refusal of a file that is no readable ONNX model."""
    return Refusal(
        Code.MODEL_INVALID,
        detail,
        field=FIELD,
        expected="an ONNX model that can be parsed",
        got=got,
    )


def missing_weights(location: str) -> Refusal:
    """Return the refusal of a model whose weights are in a file that was not uploaded."""
    return Refusal(
        Code.MODEL_UNSUPPORTED,
        "weights of the model are in a file that was not uploaded (external data): send both as "
        "one zip or tar archive, or save the model as one file (onnx.save with "
        "save_as_external_data=False)",
        field=FIELD,
        expected="an ONNX file that holds its weights, or a bundle of the model and its weights",
        got=f"a reference to {location[:80]!r}",
    )
