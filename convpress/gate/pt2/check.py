"""The gate for torch.export archives: everything is checked before torch opens a copy of one."""

from pathlib import Path

from convpress.gate import archive
from convpress.gate.mapped import mapped
from convpress.gate.pt2.archive import read_archive
from convpress.gate.refusals import over_limit
from convpress.gate.torchscript.extras import require_safe_extra
from convpress.limits import Limits


def require_safe_pt2(path: Path, limits: Limits) -> None:
    """Require that the archive at `path` has nothing that no network needs.

    Sample inputs are let through unread: `samples.write_without_samples` leaves them out before
    anything opens the file.

    Raises:
        Refusal: `model_truncated`, `model_invalid`, `model_unsafe`, `model_unsupported` or
            `model_over_limit`.
    """
    extras = read_archive(path, limits).extras
    size = sum(member.size for member in extras)
    if size > limits.inflated_bytes:
        raise over_limit(
            f"the archive holds {size} bytes of extra files",
            f"at most {limits.inflated_bytes} bytes",
        )
    with mapped(path) as view:
        for member in extras:
            require_safe_extra(archive.read(view, member), member.name, limits)
