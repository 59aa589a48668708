"""The last look at an artifact: it must be within the limits on an upload."""

from pathlib import Path

from convpress.gate.check import require_safe
from convpress.refusal import Refusal
from worker.engine.request import Request


def require_accepted(request: Request) -> None:
    """Require that the artifact of a request would be accepted as an upload.

    Factored layers are more layers: those of a model just below a limit may exceed it. The worker,
    which trusts no child, checks it again, and takes a refusal for a child that died.

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
