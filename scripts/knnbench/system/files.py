"""Files: written whole or not at all, and known by their content. Standard library only."""

import hashlib
import os
import uuid
from pathlib import Path


def write_atomically(path, text):
    """Write a text file so that a reader, or a later run, finds either nothing or all of it."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # process ids are not unique: containers begin anew
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ending(path):
    """What the name of a file ends in, in small letters: .gz together with what is before it."""
    name = Path(path).name.lower()
    return "".join(Path(name).suffixes[-2:]) if name.endswith(".gz") else Path(name).suffix
