"""Download a dataset's file and remember its digest, so that nobody else accepts another file under the same name."""

import argparse
from pathlib import Path

from knnbench.download import DownloadError, download


def locked_digest(lock, name):
    """Digest of a file in a lock of `sha256sum` lines, or None."""
    lines = lock.read_text().splitlines() if lock.exists() else []
    return next((line.split()[0] for line in lines if line.split()[1:] == [name]), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--sha256", default="", help="digest that the file must have, if it is known")
    parser.add_argument("--lock", type=Path, required=True, help="digests of earlier downloads; added to")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    known = arguments.sha256 or locked_digest(arguments.lock, arguments.out.name)
    try:
        digest = download(arguments.url, arguments.out, known)
    except DownloadError as error:
        raise SystemExit(str(error)) from error
    if not known:
        with open(arguments.lock, "a") as file:
            file.write(f"{digest}  {arguments.out.name}\n")
        print(f"{arguments.out.name}: SHA-256 {digest} recorded in {arguments.lock}; commit it")


if __name__ == "__main__":
    main()
