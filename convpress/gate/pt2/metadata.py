"""What a program notes about each node: where it came from, for people who look for faults."""

import re

from convpress.gate.pt2.json_text import Json, parse
from convpress.gate.pt2.schema import Check, Place, brief, shown, text, unexpected
from convpress.gate.refusals import over_limit, unsafe
from convpress.limits import Limits

_LONGEST = 1_000_000
_TEXTS = frozenset({"stack_trace", "nn_module_stack", "torch_fn"})
_CUSTOM = "custom"
_JSON = frozenset({_CUSTOM, "from_node"})
_SOURCES = "source_fn_stack"
# torch looks the function up by its name.
_SOURCE = re.compile(r"[\w.]*,[\w.<>]*(;[\w.]*,[\w.<>]*)*")
_is_text = text(_LONGEST)


def node_metadata(limits: Limits) -> Check:
    """Return a check for the notes of a node.

    The check raises:
        Refusal: `model_unsafe` for a note that torch would look code up by, `model_invalid` or
            `model_over_limit`.
    """

    def check(value: Json, place: Place) -> None:
        if not isinstance(value, dict):
            raise unexpected(value, place, "an object")
        for name, note in value.items():
            _check_note(name, note, (place, name), limits)

    return check


def _check_note(name: str, note: Json, place: Place, limits: Limits) -> None:
    _is_text(note, place)
    if name in _TEXTS:
        return
    if name in _JSON:
        noted = parse(note, shown(place), limits)
        if name == _CUSTOM and not isinstance(noted, dict):
            raise unexpected(noted, place, "an object, as torch.export writes it")
        _require_shallow(noted, place, limits)
    elif name == _SOURCES:
        if not _SOURCE.fullmatch(note):
            raise unsafe(
                f"{shown(place)} names the function {brief(note)}", "names with dots"
            )
    else:
        raise unexpected(name, place, "a note that torch.export writes")


def _require_shallow(value: Json, place: Place, limits: Limits) -> None:
    """Require containers that do not nest too deep, level by level."""
    level = [value]
    depth = 0
    while level:
        depth += 1
        if depth > limits.nesting:
            raise over_limit(
                f"{shown(place)} nests its brackets too deep",
                f"at most {limits.nesting} brackets",
            )
        containers = [each for each in level if isinstance(each, (dict, list))]
        level = []
        for container in containers:
            level += container.values() if isinstance(container, dict) else container
