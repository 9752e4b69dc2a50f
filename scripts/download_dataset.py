"""Have a dataset's file: in a folder of the user's, from an earlier download, or from the network; and write a receipt.

The file's digest is remembered, so that nobody else accepts another file under the same name. A file that cannot be had gets a
receipt that says why: the other datasets go on without it.
"""

import argparse
import contextlib
import json
import os
from pathlib import Path

from knnbench.problem.download import DownloadError, WrongFile, address, download, second_name
from knnbench.system.files import sha256_of


def locked_digest(lock, name):
    """Digest of a file in a lock of `sha256sum` lines, or None."""
    lines = lock.read_text(encoding="utf-8", errors="replace").splitlines() if lock.exists() else []
    return next((line.split()[0] for line in lines if line.split()[1:] == [name]), None)


def make_way(path, url, lock):
    """See to it that what lies at `path`, whole or in part, came from `url`: another address may have had the name before.

    A file of an earlier address, which is noted beside it, gets the name that it has if it is not the first of its name, in the
    lock, too.

    Raises
    ------
    WrongFile
        There is another file of that name.
    """
    note = path.with_name(f"{path.name}.url")
    earlier = note.read_text(encoding="utf-8") if note.exists() else url
    if earlier != url:
        path.with_name(f"{path.name}.part").unlink(missing_ok=True)
        if path.is_file():
            aside = path.with_name(second_name(earlier))
            if not aside.exists():
                path.rename(aside)
            elif path.samefile(aside) or sha256_of(path) != sha256_of(aside):
                raise WrongFile(f"{path}: it is of {earlier}, as {aside} is, and {url} is wanted; remove it")
            else:
                path.unlink()
            print(f"{path} was of {earlier}; it is {aside} now")
        with contextlib.suppress(OSError):  # it is not there, or others keep it: then its digest is demanded
            text, line = lock.read_text(encoding="utf-8", errors="surrogateescape"), f"  {path.name}\n"
            lines = dict.fromkeys(f"{each}\n".replace(line, f"  {second_name(earlier)}\n") for each in text.splitlines())
            lock.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    if earlier != url or not note.exists():
        note.write_text(url, encoding="utf-8")


def have(url, path, known):
    """Have the file of `url` at `path`: as it is there already, as a link to a file of the user's, or as a download.

    Parameters
    ----------
    url : str, an address or the path of a file
    path : Path
    known : str or None, SHA-256 that it must have

    Returns
    -------
    sha256 : str

    Raises
    ------
    DownloadError, OSError
    """
    if os.path.isfile(url) and (path.is_symlink() or not path.exists()) and Path(url).resolve() != path.resolve():
        path.unlink(missing_ok=True)
        path.symlink_to(Path(url).absolute())
    return download(url, path, known)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--sha256", default="", help="digest that the file must have, if it is known")
    parser.add_argument("--lock", type=Path, required=True, help="digests of earlier downloads; added to")
    parser.add_argument("--out", type=Path, required=True, help="the receipt, FILE.json; a download is kept as FILE beside it")
    arguments = parser.parse_args()

    path = arguments.out.with_suffix("")
    url = address(arguments.url, os.environ.get("KNNBENCH_MIRROR", ""), path.name)
    try:
        make_way(path, arguments.url, arguments.lock)
        known = arguments.sha256 or locked_digest(arguments.lock, path.name)
        digest = have(url, path, known)
    except (DownloadError, OSError) as error:
        print(error)
        again = not isinstance(error, WrongFile)  # which would come again
        receipt = {"status": "unavailable", "asked": arguments.url, "url": url, "reason": str(error), "again": again}
    else:
        receipt = {"status": "ok", "asked": arguments.url, "url": url, "path": str(path), "sha256": digest}
        receipt["bytes"] = path.stat().st_size
        if not known:
            line = f"{digest}  {path.name}\n"
            try:
                with open(arguments.lock, "a", encoding="utf-8") as file:
                    file.write(line)
                print(f"{path.name}: SHA-256 {digest} recorded in {arguments.lock}; commit it")
            except OSError as error:  # others keep the project
                print(
                    f"{path.name}: not recorded ({error}); whoever may write {arguments.lock} can add this line:\n{line}",
                    end="",
                )
    arguments.out.write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
