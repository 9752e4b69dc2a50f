"""Downloads, against a server on this machine that misbehaves as servers do."""

import hashlib
import http.server
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from knnbench.download import DownloadError, download

CONTENT = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `script` holds what the next requests get instead, and `seen` what they asked."""

    script, seen, ranges = [], [], True

    def do_GET(self):
        type(self).seen.append(dict(self.headers))
        action = self.script.pop(0) if self.script else "good"
        if isinstance(action, int):
            self.send_error(action)
            return
        content = b"  <!DOCTYPE html><p>Just a moment..." if action == "html" else CONTENT
        start = 0
        if self.ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : len(content) // 2] if action == "truncated" else content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    Handler.script, Handler.seen, Handler.ranges = [], [], True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/file.hdf5"
    server.shutdown()
    server.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.hdf5"


def test_good(url, path):
    assert download(url, path, DIGEST) == DIGEST and path.read_bytes() == CONTENT
    assert "Mozilla" in Handler.seen[0]["User-Agent"]
    assert [each.name for each in path.parent.iterdir()] == ["file.hdf5"]


def test_truncated_is_continued(url, path):
    Handler.script = ["truncated"]
    download(url, path, DIGEST, pause_s=0)
    assert path.read_bytes() == CONTENT
    assert Handler.seen[1]["Range"] == f"bytes={len(CONTENT) // 2}-"


def test_truncated_from_a_server_without_ranges_starts_anew(url, path):
    Handler.script, Handler.ranges = ["truncated"], False
    download(url, path, DIGEST, pause_s=0)
    assert path.read_bytes() == CONTENT


def test_next_call_continues(url, path):
    Handler.script = ["truncated"]
    with pytest.raises(DownloadError, match="what arrived is kept"):
        download(url, path, DIGEST, retries=0)
    assert not path.exists()
    download(url, path, DIGEST)
    assert path.read_bytes() == CONTENT and "Range" in Handler.seen[1]


def test_complete_part_is_only_checked(url, path):
    path.with_name("file.hdf5.part").write_bytes(CONTENT)
    download(url, path, DIGEST)
    assert path.read_bytes() == CONTENT


def test_part_of_a_longer_file_starts_anew(url, path):
    path.with_name("file.hdf5.part").write_bytes(CONTENT + b"more")
    download(url, path, DIGEST, pause_s=0)
    assert path.read_bytes() == CONTENT


def test_503_then_good(url, path):
    Handler.script = [503, 429]
    download(url, path, DIGEST, pause_s=0)
    assert path.read_bytes() == CONTENT and len(Handler.seen) == 3


def test_404_is_final(url, path):
    Handler.script = [404]
    with pytest.raises(DownloadError, match="404 Not Found; check the address"):
        download(url, path)
    assert len(Handler.seen) == 1 and not list(path.parent.iterdir())


@pytest.mark.parametrize(("action", "words"), [("html", "web page"), ("good", "expected 00")])
def test_the_wrong_file_is_deleted(url, path, action, words):
    Handler.script = [action]
    with pytest.raises(DownloadError, match=words):
        download(url, path, None if action == "html" else "0" * 64)
    assert not list(path.parent.iterdir())


def test_no_server(path):
    with pytest.raises(DownloadError, match="Connection refused"):
        download("http://127.0.0.1:9/x.hdf5", path, retries=1, pause_s=0)


def test_first_digest_is_locked(url, path, tmp_path):
    lock = tmp_path / "downloads.sha256"
    script = [sys.executable, ROOT / "scripts/download_dataset.py", "--url", url, "--lock", lock, "--out", path]
    subprocess.run(script, check=True)
    assert lock.read_text() == f"{DIGEST}  file.hdf5\n"
    path.unlink()
    lock.write_text(f"{'0' * 64}  file.hdf5\n")
    again = subprocess.run(script, capture_output=True, text=True)
    assert again.returncode == 1 and "expected 0000" in again.stderr and "Traceback" not in again.stderr
    assert not path.exists()
