"""Download a file once: resumable, retried, checked, then moved into place. Standard library only."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

# The host of ann-benchmarks' files refuses requests that do not look like a browser's.
USER_AGENT = "Mozilla/5.0 (compatible; knnbench)"
TIMEOUT_S = 60
CHUNK = 2**20


class DownloadError(RuntimeError):
    """The file could not be had; the message says why and what to do."""


def fetch(url, part):
    """Add to `part` what it lacks of the file at `url`.

    Raises
    ------
    OSError, http.client.HTTPException
        Worth another try.
    DownloadError
        The server says that there is no such file for us.
    """
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": USER_AGENT} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # it was complete
        if error.code == 416:  # it is a part of another file
            part.unlink()
            raise
        if error.code in (408, 425, 429) or error.code >= 500:
            raise
        raise DownloadError(f"{url}: the server answered {error.code} {error.reason}; check the address") from error
    with response, open(part, "ab" if response.status == 206 else "wb") as file:
        expected = response.headers.get("Content-Length")
        received = 0
        while chunk := response.read(CHUNK):
            file.write(chunk)
            received += len(chunk)
    if expected is not None and received != int(expected):
        raise http.client.IncompleteRead(b"", int(expected) - received)


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url, path, sha256=None, retries=5, pause_s=2.0):
    """Download `url` to `path`.

    What arrived of an interrupted download stays beside `path` as `.part` and is continued by the next call.

    Parameters
    ----------
    url : str
    path : path of the finished file
    sha256 : str or None, the digest that the file must have
    retries : int, further tries after a failure that may pass
    pause_s : float, before the first retry; doubled for each further one

    Returns
    -------
    sha256 : str

    Raises
    ------
    DownloadError
        Not available, or not the file that was asked for: then nothing is left behind.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(retries + 1):
        try:
            fetch(url, part)
            break
        except (OSError, http.client.HTTPException) as error:
            if attempt == retries:
                raise DownloadError(
                    f"{url}: {error!r} after {attempt + 1} tries; what arrived is kept, the next call continues"
                ) from error
            print(f"{url}: {error!r}; try {attempt + 2} of {retries + 1}", flush=True)
            time.sleep(pause_s * 2**attempt)
    with open(part, "rb") as file:
        head = file.read(512).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        part.unlink()
        raise DownloadError(f"{url}: a web page came in place of the file; open the address in a browser to see what it says")
    found = sha256_of(part)
    if sha256 and found != sha256.lower():
        part.unlink()
        raise DownloadError(
            f"{url}: SHA-256 is {found}, expected {sha256}; deleted. If the host has published a new version on purpose, "
            "update the digest in config.yaml or downloads.sha256"
        )
    part.rename(path)
    return found
