"""Files that tests put into a store and read back."""

import secrets
from pathlib import Path


def read(storage, key, tmp_path):
    target = tmp_path / secrets.token_hex(4)
    storage.fetch(key, target)
    return target.read_bytes()


def put(storage, key, content):
    with storage.stage() as staged:
        staged.write(content)
        staged.flush()
        storage.prepare(Path(staged.name), key)
        storage.keep(Path(staged.name), key)
