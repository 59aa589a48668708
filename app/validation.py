"""What FastAPI's validation refuses, as the members of a problem document."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

# What a refusal repeats of a name or of a value.
_LONGEST = 100


def problem_members(error: Mapping[str, Any], request: Request) -> dict[str, str]:
    """Return the members of the problem that an error of pydantic is."""
    # `loc` is the part of the request, such as "query", then the field, then a place in its list.
    # A body that is no JSON object has no field: then a number or nothing follows.
    part, *places = error["loc"]
    field = str(places[0] if places and isinstance(places[0], str) else part)
    field = field[:_LONGEST]
    # JSON may have half a surrogate pair, which no answer can be written with.
    got = str(error.get("input"))[:_LONGEST].encode(errors="backslashreplace").decode()
    members = {"code": "request_invalid", "field": field, "got": got}
    if part == "query" and error["type"] == "extra_forbidden":
        return members | _unknown_parameter(request, field)
    return members | _fault(error, field)


def _unknown_parameter(request: Request, name: str) -> dict[str, str]:
    """Return the detail of an unknown name in a query, and the names that the path has."""
    # Without the prefix of a proxy, which the path of the request may have.
    path = request.scope["route"].path
    operation = request.app.openapi()["paths"][path]["get"]
    names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
    return {
        "detail": f"{path} has no parameter {name!r}",
        "expected": "one of " + ", ".join(names),
    }


def _fault(error: Mapping[str, Any], field: str) -> dict[str, str]:
    """Return the detail of an error of pydantic, and what was expected where it says so."""
    if error["type"] == "extra_forbidden":
        return {"detail": f"there is no field {field!r}"}
    if error["type"] in ("dict_type", "model_attributes_type"):
        return {"detail": f"{field} is no object of JSON", "expected": "an object"}
    if error["type"] == "json_invalid":
        return {"detail": f"{field} is no JSON", "expected": "an object of JSON"}
    _, should, expected = error["msg"].partition(" should ")
    if not should:
        return {"detail": f"{field}: {error['msg']}"}
    if error["type"].endswith("_parsing"):
        # Behind the comma is how the parser failed.
        expected, _, _ = expected.partition(",")
    expected = expected.removeprefix("be ").removeprefix("have ")
    expected = expected.replace("match pattern", "the pattern", 1)
    return {"detail": f"{field} cannot be taken", "expected": expected}
