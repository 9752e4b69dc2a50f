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
PROBE_S = 5
CHUNK = 2**20


class DownloadError(RuntimeError):
    """The file could not be had; the message says why and what to do."""


class WrongFile(DownloadError):
    """Something came that is not the file: another try would bring it again."""


def address(url, mirror):
    """Where to look for the file of `url`: in the folder `mirror` if it is there, below the address `mirror`, or at `url`."""
    name = url.rsplit("/", 1)[1]
    if mirror.startswith(("http://", "https://")):
        return f"{mirror.rstrip('/')}/{name}"
    there = Path(mirror, name)
    return str(there) if mirror and there.is_file() else url


def request(url, **headers):
    return urllib.request.Request(url, headers={"User-Agent": USER_AGENT} | headers)


def is_there(url):
    """Whether a file or an address answers, without waiting long for it."""
    if Path(url).is_file():
        return True
    try:
        with urllib.request.urlopen(request(url, Range="bytes=0-0"), timeout=PROBE_S):
            return True
    except (OSError, http.client.HTTPException):
        return False


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
    rest = {"Range": f"bytes={have}-"} if have else {}
    try:
        response = urllib.request.urlopen(request(url, **rest), timeout=TIMEOUT_S)
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


def download(url, path, sha256=None, retries=4, pause_s=2.0):
    """Download `url` to `path`.

    What arrived of an interrupted download stays beside `path` as `.part` and is continued by the next call.

    Parameters
    ----------
    url : str
    path : path of the finished file
    sha256 : str or None, the digest that the file must have
    retries : int, further tries after one that brought nothing
    pause_s : float, before the first retry; doubled for each further one

    Returns
    -------
    sha256 : str

    Raises
    ------
    DownloadError
        Not available, or not the file that was asked for (`WrongFile`): then nothing is left behind.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    in_vain = most = 0
    while True:
        try:
            fetch(url, part)
            break
        except (OSError, http.client.HTTPException) as error:
            have = part.stat().st_size if part.exists() else 0
            in_vain, most = (1, have) if have > most else (in_vain + 1, most)
            if in_vain > retries:
                raise DownloadError(
                    f"{url}: {error} after {in_vain} tries; what arrived is kept, the next call continues"
                ) from error
            print(f"{url}: {error!r}; trying again", flush=True)
            time.sleep(pause_s * 2 ** (in_vain - 1))
    with open(part, "rb") as file:
        head = file.read(512).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        part.unlink()
        raise WrongFile(f"{url}: a web page came in place of the file; open the address in a browser to see what it says")
    found = sha256_of(part)
    if sha256 and found != sha256.lower():
        part.unlink()
        raise WrongFile(
            f"{url}: SHA-256 is {found}, expected {sha256}; deleted. If the host has published a new version on purpose, "
            f"update the digest in config.yaml or downloads.sha256 and delete {path}.json"
        )
    part.rename(path)
    return found
