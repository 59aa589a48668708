"""The last look at an artifact: the service takes it under the limits of an upload, or not at all."""

from pathlib import Path

from convpress.gate.check import require_safe
from convpress.refusal import Refusal
from worker.engine.request import Request


def require_accepted(request: Request) -> None:
    """Require that the artifact of a request would be accepted as an upload.

    Factored layers are more layers: those of a model just below a limit exceed it. The worker, which
    trusts no child, checks it again, and would take a refusal for a child that died.

    Raises:
        Refusal: the code with which the artifact would be refused.
    """
    if request.limits is None:
        return
    try:
        require_safe(Path(request.output), request.format, request.limits)
    except Refusal as refusal:
        raise Refusal(
            refusal.code,
            f"the compressed model would be refused as an upload: {refusal.detail}",
            field=refusal.field,
            expected=refusal.expected,
            got=refusal.got,
        ) from refusal
