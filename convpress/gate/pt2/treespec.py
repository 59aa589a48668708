"""The structure of a program's inputs and outputs, as torch's pytree writes it: JSON in a text.

torch imports any module that a `defaultdict` or an enumeration names here, and calls it.
"""

import json

from convpress.gate.pt2 import names
from convpress.gate.pt2.json_text import Json, parse
from convpress.gate.pt2.schema import Check, Place, brief, shown, text, unexpected
from convpress.gate.refusals import over_limit, unsafe, unsupported
from convpress.limits import Limits

_PROTOCOL = 1
_SEQUENCES = frozenset({"builtins.tuple", "builtins.list"})
_MAPPINGS = frozenset({"builtins.dict", "collections.OrderedDict"})
_MEMBERS = {"type", "context", "children_spec"}
_LONGEST = 1_000_000
# torch recurses into the structure several calls a level.
_DEEPEST = 32
_PLAIN = "tuples, lists and dictionaries of tensors"
_is_text = text(_LONGEST)


def treespec(limits: Limits, *, has_arguments: bool) -> Check:
    """Return a check for the structure of inputs or outputs.

    `has_arguments` says that the structure is that of a call: its second part is a dictionary whose
    keys are arguments of the Python function that torch writes.

    The check raises:
        Refusal: `model_unsafe` for a structure that imports code, `model_unsupported` for one of a
            class of some package, `model_invalid` or `model_over_limit`.
    """
    deepest = min(_DEEPEST, limits.nesting)

    def check(value: Json, place: Place) -> None:
        _is_text(value, place)
        structure = parse(value, shown(place), limits)
        is_known = isinstance(structure, list) and len(structure) == 2
        if not is_known or structure[0] != _PROTOCOL:
            raise unexpected(
                structure, place, f"a structure of pytree's protocol {_PROTOCOL}"
            )
        _check_node(structure[1], place, deepest, limits)
        if has_arguments:
            _require_argument_names(structure[1], place)

    return check


def _require_argument_names(root: dict[str, Json], place: Place) -> None:
    for child in root["children_spec"]:
        if child["type"] in _MAPPINGS:
            # It was parsed once, as a list.
            for key in json.loads(child["context"]):
                names.identifier(key, place)


def _check_node(node: Json, place: Place, deepest: int, limits: Limits) -> None:
    if not isinstance(node, dict) or node.keys() != _MEMBERS:
        raise unexpected(node, place, "an object with type, context and children_spec")
    if deepest == 0:
        raise over_limit(
            f"{shown(place)} is a structure that nests too deep",
            f"at most {_DEEPEST} containers",
        )
    children = node["children_spec"]
    if not isinstance(children, list):
        raise unexpected(children, (place, "children_spec"), "a list")
    _check_container(node, place, limits)
    for index, child in enumerate(children):
        _check_node(child, ((place, "children_spec"), index), deepest - 1, limits)


def _check_container(node: dict[str, Json], place: Place, limits: Limits) -> None:
    kind = node["type"]
    context = node["context"]
    if kind is None:
        if context is not None or node["children_spec"]:
            raise unexpected(node, place, "a leaf")
        return
    names.plain_text(kind, (place, "type"))
    if kind in _SEQUENCES:
        if context != "null":
            raise unsafe(
                f"{shown(place)} is a structure with the context {brief(context)}",
                _PLAIN,
            )
        return
    if kind not in _MAPPINGS:
        raise unsupported(
            f"{shown(place)} is a structure of {brief(kind)}, which needs code to be built: let "
            "the network take and return tuples, lists and dictionaries, and export it again",
            _PLAIN,
        )
    _check_keys(context, len(node["children_spec"]), place, limits)


def _check_keys(context: Json, count: int, place: Place, limits: Limits) -> None:
    """Require the keys of a dictionary: a JSON list of plain texts or numbers."""
    _is_text(context, place)
    keys = parse(context, shown(place), limits)
    if not isinstance(keys, list) or len(keys) != count:
        raise unexpected(keys, place, f"the {count} keys of a dictionary")
    for key in keys:
        if isinstance(key, dict):
            raise unsafe(
                f"{shown(place)} has a key of a class that torch would import", _PLAIN
            )
        if type(key) is not int:
            names.plain_text(key, place)
