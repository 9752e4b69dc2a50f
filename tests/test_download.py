"""Downloads, against a server on this machine that misbehaves as servers do."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT

from knnbench.problem.download import DownloadError, address, download, is_there, second_name

CONTENT = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `script` holds what the next requests get instead, and `seen` what they asked."""

    script, seen, ranges, pause, content, tag = [], [], True, None, CONTENT, ""

    def do_GET(self):
        type(self).seen.append(dict(self.headers))
        action = self.script.pop(0) if self.script else "good"
        if self.pause:
            self.pause.wait()
        if isinstance(action, int):
            self.send_error(action)
            return
        content = b"  <!DOCTYPE html><p>Just a moment..." if action == "html" else self.content
        start = 0
        same = self.headers.get("If-Range", self.tag) == self.tag
        if self.ranges and same and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if self.tag:
            self.send_header("ETag", self.tag)
        self.end_headers()
        self.wfile.write(content[start : (start + len(content)) // 2] if action == "truncated" else content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    Handler.script, Handler.seen, Handler.ranges, Handler.pause = [], [], True, None
    Handler.content, Handler.tag = CONTENT, ""
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


def test_another_version_is_not_joined_to_a_part(url, path):
    """Of a file whose digest nobody knows, only the server can say that it is another one by now."""
    Handler.tag, Handler.script = '"one"', ["truncated"]
    with pytest.raises(DownloadError, match="what arrived is kept"):
        download(url, path, retries=0)
    Handler.tag, Handler.content = '"two"', CONTENT[::-1]
    download(url, path)
    assert path.read_bytes() == CONTENT[::-1] and Handler.seen[1]["If-Range"] == '"one"'
    assert [each.name for each in path.parent.iterdir()] == ["file.hdf5"]
    path.unlink()
    Handler.script = ["truncated"]  # another mirror's copy begins anew, too
    with pytest.raises(DownloadError, match="what arrived is kept"):
        download(url, path, retries=0)
    download(url.replace("file", "copy"), path)
    assert path.read_bytes() == CONTENT[::-1] and "Range" not in Handler.seen[-1]


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


def run(url, path, mirror=""):
    """What the workflow calls; the receipt."""
    receipt = path.with_name(f"{path.name}.json")
    command = [sys.executable, ROOT / "scripts/download_dataset.py", "--url", url, "--lock", path.with_name("lock")]
    subprocess.run([*command, "--out", receipt], check=True, env=os.environ | {"KNNBENCH_MIRROR": mirror})
    return json.loads(receipt.read_text())


def test_first_digest_is_locked(url, path):
    receipt = run(url, path)
    expected = {"status": "ok", "asked": url, "url": url, "path": str(path), "sha256": DIGEST, "bytes": len(CONTENT)}
    assert receipt == expected
    lock = path.with_name("lock")
    assert lock.read_text() == f"{DIGEST}  file.hdf5\n"
    path.unlink()
    lock.write_text(f"{'0' * 64}  file.hdf5\n")
    again = run(url, path)
    assert again["status"] == "unavailable" and "expected 0000" in again["reason"] and not again["again"]
    assert not path.exists()


def test_a_file_that_is_there_is_not_downloaded(url, path):
    path.write_bytes(CONTENT)
    assert run(url, path)["sha256"] == DIGEST and not Handler.seen
    path.with_name("lock").write_text(f"{'0' * 64}  file.hdf5\n")
    assert "remove it" in run(url, path)["reason"] and path.exists()


def test_mirrors(url, path, tmp_path):
    """A folder's files are used where they are, others come from the host; a base address stands for the host."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    assert run(url, path, str(folder))["url"] == url
    path.unlink()
    (folder / "file.hdf5").write_bytes(CONTENT)
    seen = len(Handler.seen)
    assert run(url, path, str(folder))["url"] == str(folder / "file.hdf5")
    assert len(Handler.seen) == seen and path.resolve() == folder / "file.hdf5"
    assert run(url, path)["status"] == "ok" and len(Handler.seen) == seen  # without the mirror, it is still there
    path.unlink()
    base = url.rsplit("/", 1)[0]
    assert run("http://127.0.0.1:9/ann/file.hdf5", path, f"{base}/")["url"] == url
    assert address("http://host/a/b.hdf5", "http://mirror/x", "b-2.hdf5") == "http://mirror/x/b-2.hdf5"


def test_a_mirror_never_costs_a_file(url, path, tmp_path):
    """A mirror that is the folder of downloads, or a link to it; a file that somebody put there beside a mirror's."""
    (tmp_path / "link").symlink_to(tmp_path)
    for mirror in (tmp_path, tmp_path / "link"):
        path.write_bytes(CONTENT)
        assert run(url, path, str(mirror))["sha256"] == DIGEST
        assert path.read_bytes() == CONTENT and not path.is_symlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file.hdf5").write_bytes(b"other")
    assert run(url, path, str(tmp_path / "other"))["sha256"] == DIGEST and path.read_bytes() == CONTENT
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    assert run(url, path, str(tmp_path))["sha256"] == DIGEST and path.read_bytes() == CONTENT  # downloaded: it led nowhere
    assert not Handler.script and len(Handler.seen) == 1


def test_another_address_is_another_file(url, path):
    """What another address left under the name, whole or in part, is not taken for this one's; it keeps a name of its own."""
    path.write_bytes(b"of somebody else")
    run(url, path)  # put there by hand: it is the file
    assert not Handler.seen
    path.with_name("file.hdf5.part").write_bytes(b"half of it")
    other = url.replace("file.hdf5", "b/file.hdf5")
    assert run(other, path)["asked"] == other and path.read_bytes() == CONTENT and "Range" not in Handler.seen[0]
    assert path.with_name(second_name(url)).read_bytes() == b"of somebody else"
    lines = [line.split() for line in path.with_name("lock").read_text().splitlines()]
    assert lines == [[hashlib.sha256(b"of somebody else").hexdigest(), second_name(url)], [DIGEST, "file.hdf5"]]
    path.with_name(second_name(other)).write_bytes(b"that name is taken")
    again = run(url, path)
    assert again["status"] == "unavailable" and f"{url} is wanted; remove it" in again["reason"] and not again["again"]
    assert path.read_bytes() == CONTENT
    path.with_name(second_name(other)).write_bytes(CONTENT)
    path.with_name("lock").write_text("")
    assert run(url, path)["status"] == "ok" and path.with_name(second_name(other)).read_bytes() == CONTENT


def test_a_lock_that_may_not_be_written_is_said(url, path, capfd):
    path.with_name("lock").symlink_to("no/such/folder")
    assert run(url, path)["sha256"] == DIGEST
    assert f"can add this line:\n{DIGEST}  file.hdf5" in capfd.readouterr().out


def test_two_at_once_write_one_file(url, path):
    """The second waits for the first and takes its file; a file system without locks is no reason to fail."""
    Handler.pause = threading.Event()
    threads = [threading.Thread(target=download, args=(url, path, DIGEST)) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not Handler.seen:
        time.sleep(0.01)
    time.sleep(0.3)  # the others had their chance
    assert len(Handler.seen) == 1
    Handler.pause.set()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == CONTENT and len(Handler.seen) == 1
    assert [each.name for each in path.parent.iterdir()] == ["file.hdf5"]


def test_no_locks(url, path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available")))
    assert download(url, path, DIGEST) == DIGEST


def test_what_answers(url):
    assert is_there(url) and not is_there("http://127.0.0.1:9/x.hdf5")
    Handler.script = [404]
    assert not is_there(url)


def test_progress_renews_the_patience(url, path):
    """A server that breaks off again and again is asked as long as something arrives."""
    Handler.script = ["truncated"] * 8
    assert download(url, path, DIGEST, retries=1, pause_s=0) == DIGEST
