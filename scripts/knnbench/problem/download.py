"""Download a file once: resumable, retried, checked, then moved into place. Standard library only."""

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from knnbench.system.files import ending, sha256_of

# The host of ann-benchmarks' files refuses requests that do not look like a browser's.
USER_AGENT = "Mozilla/5.0 (compatible; knnbench)"
TIMEOUT_S = 60
PROBE_S = 5
CHUNK = 2**20


class DownloadError(RuntimeError):
    """The file could not be had; the message says why and what to do."""


class WrongFile(DownloadError):
    """Something came that is not the file: another try would bring it again."""


def address(url, mirror, name):
    """Where to look for the file of `url`: as `name` in the folder `mirror` or below the address `mirror`, or at `url`."""
    if mirror.startswith(("http://", "https://")):
        return f"{mirror.rstrip('/')}/{name}"
    there = os.path.join(mirror, name)
    return there if mirror and os.path.isfile(there) else url


def file_name(url):
    """Name of the file of an address: what its path ends in, or, if that is no name of a file, what its query names."""
    parts = urllib.parse.urlsplit(url)
    plain = Path(parts.path).name
    asked = [re.sub(r"[^\w.-]", "_", Path(value).name) for _, value in urllib.parse.parse_qsl(parts.query)]
    return next((name for name in (plain, *asked) if ending(name)), plain or "download")


def second_name(url):
    """Name of the file of `url` where another address has the plain name: with eight digits of the address's SHA-256."""
    name = file_name(url)
    kept = len(ending(name))  # its format is known by that
    return f"{name[: len(name) - kept]}-{hashlib.sha256(url.encode()).hexdigest()[:8]}{name[len(name) - kept :]}"


def request(url, **headers):
    return urllib.request.Request(url, headers={"User-Agent": USER_AGENT} | headers)


def is_there(url):
    """Whether a file or an address answers, without waiting long for it."""
    if os.path.isfile(url):
        return True
    try:
        with urllib.request.urlopen(request(url, Range="bytes=0-0"), timeout=PROBE_S):
            return True
    except (OSError, http.client.HTTPException):
        return False


def origin_of(part):
    """Beside a partial file: the address that it is of, and in a second line which version of the file there."""
    return part.with_name(f"{part.name}.of")


def fetch(url, part):
    """Add to `part` what it lacks of the file at `url`.

    Raises
    ------
    OSError, http.client.HTTPException
        Worth another try.
    DownloadError
        The server says that there is no such file for us.
    """
    origin = origin_of(part)
    asked, version = origin.read_text(encoding="utf-8").split("\n") if origin.exists() else (url, "")
    have = part.stat().st_size if part.exists() and asked == url else 0
    # Where the server has another version by now, it answers If-Range with all of that.
    rest = {"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {}) if have else {}
    try:
        response = urllib.request.urlopen(request(url, **rest), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # it was complete
        if error.code == 416:  # it is a part of another file
            os.truncate(part, 0)
            raise
        if error.code in (408, 425, 429) or error.code >= 500:
            raise
        raise DownloadError(f"{url}: the server answered {error.code} {error.reason}; check the address") from error
    with response, open(part, "ab" if response.status == 206 else "wb") as file:
        tag = response.headers.get("ETag", "")
        version = response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag  # RFC 9110, 13.1.5
        origin.write_text(f"{url}\n{version}", encoding="utf-8")
        expected = response.headers.get("Content-Length")
        received = 0
        while chunk := response.read(CHUNK):
            file.write(chunk)
            received += len(chunk)
    if expected is not None and received != int(expected):
        raise http.client.IncompleteRead(b"", int(expected) - received)


@contextlib.contextmanager
def alone(part, path):
    """Hold a partial file, as another run may use the folder: whoever comes second waits.

    Yields whether `path` is still to be had: the other one may have finished it meanwhile.
    """
    while True:
        with open(part, "ab") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            held = os.path.exists(part) and os.path.samestat(os.fstat(file.fileno()), os.stat(part))
            if not held and not path.is_file():  # the other one threw it away
                continue
            try:
                yield not path.is_file()
            finally:
                if held and part.exists() and not part.stat().st_size:
                    part.unlink()
            return


def download(url, path, sha256=None, retries=4, pause_s=2.0):
    """Have the file of `url` at `path`: as it is there already, or downloaded.

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
    if not path.is_file():
        with alone(part, path) as wanted:
            if wanted:
                return complete(url, part, path, sha256, retries, pause_s)
    found = sha256_of(path)
    if sha256 and found != sha256.lower():
        raise WrongFile(f"{path}: SHA-256 is {found}, expected {sha256}; remove it, or update the digest")
    return found


def complete(url, part, path, sha256, retries, pause_s):
    """Fetch what `part` lacks, check it and move it to `path`; as `download` says."""
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
    origin_of(part).unlink(missing_ok=True)
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
            f"or this is another address, update the digest in config.yaml or downloads.sha256 and delete {path}.json"
        )
    part.rename(path)
    return found
