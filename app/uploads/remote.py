"""Models by URI: read from an object store, and only below the prefixes that the settings allow."""

import obstore
from obstore.exceptions import BaseError

from app.errors import Problem
from app.settings import Settings
from app.storage import Storage
from app.storage.objects import open_store, read_object
from app.uploads.upload import Part, check_room, too_large

FIELD = "model_uri"
EXPECTED = "the address of a file under one of the configured prefixes"


def check_uri(uri: str, settings: Settings) -> tuple[str, str]:
    """Split an address into a configured prefix and the key below it.

    Raises:
        Problem: `model_uri_invalid`.
    """
    for prefix in settings.model_uri_prefixes:
        key = uri.removeprefix(prefix)
        if key != uri and _is_plain(key):
            return prefix, key
    raise _invalid("it is under no prefix that this service reads from", uri)


def fetch(uri: str, part: Part, settings: Settings, storage: Storage) -> None:
    """Read the file at an address into `part`.

    Raises:
        Problem: `model_uri_invalid`, `upload_too_large`, `storage_full`.
        StorageUnavailable: the object store failed while the file was read.
    """
    prefix, key = check_uri(uri, settings)
    store = open_store(prefix)
    try:
        meta = obstore.head(store, key)
    except (FileNotFoundError, BaseError) as error:
        raise _invalid("there is no such file, or it cannot be read", uri) from error
    size = int(meta["size"])
    if size > settings.max_upload_bytes:
        raise too_large(FIELD, settings.max_upload_bytes, f"{size} bytes")
    check_room(storage, FIELD, size)
    for chunk in read_object(store, key, 0, size, meta["e_tag"]):
        part.write(chunk)


def _is_plain(key: str) -> bool:
    """Tell whether a key stays below its prefix and needs no URL escapes."""
    steps = set(key.split("/"))
    has_escapes = bool(set(key) & set("?#%\\"))
    leaves_prefix = bool(steps & {"", ".", ".."})
    return key.isprintable() and not has_escapes and not leaves_prefix


def _invalid(detail: str, got: str) -> Problem:
    return Problem(
        "model_uri_invalid",
        f"the model cannot be fetched: {detail}",
        field=FIELD,
        expected=EXPECTED,
        got=got[:200],
    )
