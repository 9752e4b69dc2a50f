"""Have a dataset's file: in a folder of the user's, from an earlier download, or from the network; and write a receipt.

The file's digest is remembered, so that nobody else accepts another file under the same name. A file that cannot be had gets a
receipt that says why: the other datasets go on without it.
"""

import argparse
import json
import os
from pathlib import Path

from knnbench.download import DownloadError, WrongFile, address, download, sha256_of


def locked_digest(lock, name):
    """Digest of a file in a lock of `sha256sum` lines, or None."""
    lines = lock.read_text(encoding="utf-8").splitlines() if lock.exists() else []
    return next((line.split()[0] for line in lines if line.split()[1:] == [name]), None)


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
    if Path(url).is_file():
        path.unlink(missing_ok=True)
        path.symlink_to(Path(url).absolute())
    if not path.is_file():
        path.unlink(missing_ok=True)  # a link to what is gone
        return download(url, path, known)
    digest = sha256_of(path)
    if known and digest != known.lower():
        raise WrongFile(f"{path}: SHA-256 is {digest}, expected {known}; remove it, or update the digest")
    return digest


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--sha256", default="", help="digest that the file must have, if it is known")
    parser.add_argument("--lock", type=Path, required=True, help="digests of earlier downloads; added to")
    parser.add_argument("--out", type=Path, required=True, help="the receipt, FILE.json; a download is kept as FILE beside it")
    arguments = parser.parse_args()

    path = arguments.out.with_suffix("")
    known = arguments.sha256 or locked_digest(arguments.lock, path.name)
    url = address(arguments.url, os.environ.get("KNNBENCH_MIRROR", ""))
    try:
        digest = have(url, path, known)
    except (DownloadError, OSError) as error:
        print(error)
        again = not isinstance(error, WrongFile)  # which would come again
        receipt = {"status": "unavailable", "url": url, "reason": str(error), "again": again}
    else:
        receipt = {"status": "ok", "url": url, "path": str(path), "sha256": digest, "bytes": path.stat().st_size}
        if not known:
            with open(arguments.lock, "a", encoding="utf-8") as file:
                file.write(f"{digest}  {path.name}\n")
            print(f"{path.name}: SHA-256 {digest} recorded in {arguments.lock}; commit it")
    arguments.out.write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
