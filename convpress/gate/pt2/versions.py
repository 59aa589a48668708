"""The versions of torch whose archives are read."""

import re
from collections.abc import Mapping

from convpress.gate.pt2.json_text import Json
from convpress.gate.pt2.schema import brief
from convpress.gate.refusals import unsupported
from convpress.refusal import Refusal

OLDEST = (2, 9)
NEWEST = (2, 14)
SCHEMA_MAJOR = 8
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(\..*)?", re.DOTALL)
_RANGE = f"torch {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
_AGAIN = f"export the network again with {_RANGE}"


def require_known_version(program: Mapping[str, Json]) -> tuple[tuple[int, int], str]:
    """Return the versions of the schema and of torch that wrote a program, if they are known.

    Raises:
        Refusal: `model_unsupported`.
    """
    torch_version = program.get("torch_version")
    if torch_version is None:
        raise unsupported(
            f"the archive does not say which torch wrote it: {_AGAIN}",
            f"archives of {_RANGE}",
        )
    match = (
        _VERSION.fullmatch(torch_version) if isinstance(torch_version, str) else None
    )
    if match is None or not isinstance(torch_version, str):
        raise _other_version(torch_version)
    if not OLDEST <= (int(match[1]), int(match[2])) <= NEWEST:
        raise _other_version(torch_version)
    schema = program.get("schema_version")
    major: Json = None
    minor: Json = None
    if isinstance(schema, dict):
        major, minor = schema.get("major"), schema.get("minor")
    if major != SCHEMA_MAJOR or type(minor) is not int:
        raise unsupported(
            f"the archive has the schema version {brief(major)}.{brief(minor)}: {_AGAIN}",
            f"version {SCHEMA_MAJOR} of the schema of torch.export",
        )
    return (SCHEMA_MAJOR, minor), torch_version


def _other_version(torch_version: Json) -> Refusal:
    return unsupported(
        f"the archive was written by torch {brief(torch_version)}: {_AGAIN}",
        f"archives of {_RANGE}",
        f"torch {brief(torch_version)}",
    )
