"""Refusals of models by the gate."""

from convpress.refusal import Code, Refusal

FIELD = "model"


def damaged(detail: str) -> Refusal:
    """Return the refusal of a damaged or contradictory model."""
    return Refusal(
        Code.MODEL_INVALID, f"the model's file is damaged: {detail}", field=FIELD
    )


def unsafe(detail: str, expected: str) -> Refusal:
    """Return the refusal of something that no exported network needs."""
    return Refusal(Code.MODEL_UNSAFE, detail, field=FIELD, expected=expected)


def over_limit(detail: str, expected: str, got: str | None = None) -> Refusal:
    """Return the refusal of something that is larger or deeper than the service accepts."""
    return Refusal(
        Code.MODEL_OVER_LIMIT, detail, field=FIELD, expected=expected, got=got
    )


def unsupported(detail: str, expected: str, got: str | None = None) -> Refusal:
    """Return the refusal of a harmless model that the service cannot compress."""
    return Refusal(
        Code.MODEL_UNSUPPORTED, detail, field=FIELD, expected=expected, got=got
    )
