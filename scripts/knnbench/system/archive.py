"""Zip files: written so that the same content gives the same bytes, and read so that nothing leaves their folder."""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can hold
MOST_FILES = 1_000_000


class ArchiveError(ValueError):
    """An archive that is not unpacked; the message names it and what is wrong."""


def pack(folder, path):
    """Pack the files of a folder in the order of their names, without their dates and owners.

    Parameters
    ----------
    folder : Path
    path : Path, the new archive
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for each in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(each.relative_to(folder).as_posix(), EPOCH)
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = (stat.S_IFREG | (0o755 if each.stat().st_mode & 0o100 else 0o644)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            with open(each, "rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)


def check_entry(path, entry):
    """Raise ArchiveError if an entry of an archive would not become a plain file inside the folder."""
    name = entry.orig_filename
    parts = PurePosixPath(name).parts
    kind = stat.S_IFMT(entry.external_attr >> 16)
    wrong = {
        "leaves the folder": name.startswith("/") or ".." in parts or "\\" in name or ":" in name,
        "has a name that is no name": not parts
        or any(ord(letter) < 32 for letter in name)
        or any(len(p.encode()) > 255 for p in parts),
        "is not a plain file": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        "is encrypted": bool(entry.flag_bits & 1),
    }
    for words, holds in wrong.items():
        if holds:
            raise ArchiveError(f"{path}: {name!r} {words}; nothing was unpacked, ask whoever made it for another copy")


def unpack(path, folder):
    """Unpack an archive: all of it, as plain files below the folder, or nothing.

    Parameters
    ----------
    path : Path, a zip file
    folder : Path, empty

    Raises
    ------
    ArchiveError
        It is no zip file or a broken one, or an entry leaves the folder, is a link, repeats another, or is larger than
        it says or than the disk has room for.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            for entry in entries:
                check_entry(path, entry)
            names = [PurePosixPath(entry.filename) for entry in entries]
            files = {name for name, entry in zip(names, entries, strict=True) if not entry.is_dir()}
            size, room = sum(entry.file_size for entry in entries), shutil.disk_usage(folder).free
            if len(set(names)) < len(names) or files & {parent for name in names for parent in name.parents}:
                raise ArchiveError(f"{path}: two entries have one name; nothing was unpacked")
            if size > room or len(entries) > MOST_FILES:
                raise ArchiveError(f"{path}: {len(entries)} files, {size} bytes, and the disk has {room}; nothing was unpacked")
            for entry in entries:
                archive.extract(entry, folder)  # reads no more than the size that was checked, and compares the CRC
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        OSError,
        EOFError,
        NotImplementedError,
        UnicodeError,
    ) as error:
        for each in Path(folder).iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        raise ArchiveError(f"{path}: cannot be unpacked ({error}); download or make it again") from error
