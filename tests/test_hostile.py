"""Input that means harm: names, archives, HDF5 files, tables and configurations. Each gets a clear error, or does no harm.

What a case may touch is its folder `inside`; beside it lie files that nobody may read, change or add to.
"""

import copy
import io
import json
import os
import resource
import shlex
import stat
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
import yaml
from conftest import CONFIG, ROOT, snakemake

from knnbench.config.checks import resolve
from knnbench.config.values import ConfigError
from knnbench.exchange.ann_benchmarks import read_ann
from knnbench.exchange.cuvs_bench import read_cuvs
from knnbench.exchange.validate import validate
from knnbench.problem.datasets import write_points
from knnbench.problem.metrics import METRICS
from knnbench.problem.points import DataError
from knnbench.problem.sources import load
from knnbench.system.archive import ArchiveError, pack, unpack

SCHEMA = yaml.safe_load((ROOT / "rules/schemas/config.schema.yaml").read_text())
ROW = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text())
SECRET = "what nobody may read"
# Names as an attacker, or an unlucky user, writes them.
NAMES = [
    "../outside/pwned",
    "../../pwned",
    "/pwned",
    "a/b",
    "..",
    ".",
    "",
    " ",
    "-rf",
    "--out=pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned;",
    "a;touch pwned",
    "a|touch pwned",
    "a&touch pwned&",
    "a > pwned",
    "a\ntouch pwned",
    "a\0b",
    "a'b",
    'a"b',
    "a b",
    "*",
    "{dataset}",
    "{config[suite]}",
    "{{x}}",
    "%s",
    "~",
    "~root",
    "é",
    "\u202egpj",
    "x" * 300,
    "a\\b",
    "<script>alert(1)</script>",
    "NUL",
    "!ls",
    "a#b",
    "a:b",
    "a,b",
    "=cmd|' /C calc'!A0",
]
SAFE = {"NUL"}  # a name like any other here


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """The folder that a case works in; afterwards, nothing beside it has changed."""
    folder, outside = tmp_path / "inside", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    with h5py.File(outside / "secret.hdf5", "w") as file:
        file["train"] = np.full((4, 2), 7.0)
        file["test"] = np.full((2, 2), 7.0)
        file["neighbors"] = np.zeros((2, 1), int)
        file["times"] = np.ones(2)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_atime_ns if path.is_file() else 0) for path in outside.rglob("*")}
    monkeypatch.chdir(folder)
    yield folder
    after = {path: (path.stat().st_mtime_ns, path.stat().st_atime_ns if path.is_file() else 0) for path in outside.rglob("*")}
    assert after == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "outside"]
    assert not list(folder.rglob("*pwned*"))


# Configurations: 40 names in 5 places, and things of the wrong kind.


def tiny(**changes):
    return {
        "suite": "mine",
        "datasets": {"toy": {"metric": "euclidean", "source": "normal", "n": 50, "d": 2, "queries": 5}},
        "backends": copy.deepcopy({"sklearn-brute": CONFIG["backends"]["sklearn-brute"]}),
        "suites": {"mine": {"datasets": ["toy"], "n_neighbors": [1]}},
    } | changes


def places(name):
    """Configurations that use a name as that of a suite, a dataset, a backend, a module, an environment, or a file."""
    base = tiny()
    toy, brute = base["datasets"]["toy"], base["backends"]["sklearn-brute"]
    download = {"metric": "euclidean", "source": "url", "format": "npy"}
    return {
        "suite": tiny(suite=name, suites={name: base["suites"]["mine"]}),
        "dataset": tiny(datasets={name: toy}, suites={"mine": {"datasets": [name], "n_neighbors": [1]}}),
        "backend": tiny(backends={name: brute}),
        "module": tiny(backends={"b": brute | {"module": name}}),
        "environment": tiny(backends={"b": brute | {"environments": {"cpu": name}}}),
        "address": tiny(datasets={"toy": download | {"url": f"https://host/{name}"}}),
        "gpu_model": tiny(cluster={"gpu_model": name}),
    }


@pytest.mark.parametrize("place", places("x"))
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names(inside, name, place):
    """A name that is not one is refused in one sentence before any job; a title, where anything is allowed, stays a title."""
    config = places(name)[place]
    harmless = (name in SAFE and place in ("suite", "dataset", "backend", "address", "gpu_model")) or (
        place == "gpu_model" and name == ""
    )
    try:
        resolve(config, SCHEMA)
    except ConfigError as error:
        assert not harmless and str(error) and "\n" not in str(error)[:20]
        return
    if place == "address":  # the file's name is what is behind the last slash: no folder, and quoted where it is used
        file = config["datasets"]["toy"]["url"].rsplit("/", 1)[1]
        assert "/" not in file and file not in ("", ".", "..")
    else:
        assert harmless or shlex.quote(name) == name, name


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        1.5,
        True,
        "text",
        [],
        {},
        [1],
        ["x"],
        {"x": 1},
        [[[]]],
        {"x": {"y": {"z": []}}},
        "9" * 400,
        float("nan"),
        float("inf"),
        -1,
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "key", ["suite", "datasets", "backends", "suites", "timing", "claims", "figures", "sources", "cluster", "fail_on"]
)
def test_values_of_the_wrong_kind(inside, key, value):
    config = tiny(**{key: value})
    try:
        resolve(config, SCHEMA)
    except ConfigError as error:
        assert str(error)


@pytest.mark.full
def test_hostile_places_do_not_reach_a_shell(project):
    """Folders whose names are commands, titles that are HTML, TeX and commands: the run ends well and nothing was executed."""
    evil = "re source's; touch pwned; $(touch pwned) `touch pwned` \"&"
    title = "<script>document.title='pwned'</script> $(touch pwned) \\input{/etc/passwd} %s {x} ${x} \" ' ; touch pwned"
    (project / evil).mkdir()
    os.symlink((project / "resources/environments").resolve(), project / evil / "environments")
    overlay = {
        "suite": "mine",
        "resources_dir": evil,
        "figures": {"formats": ["svg"]},
        "timing": {"budget_s": 0.01},
        "datasets": {"evil": {"metric": "euclidean", "source": "normal", "n": 300, "d": 3, "queries": 20, "title": title}},
        "backends": {"evil": {"module": "sklearn", "label": title, "exact": True, "environments": {"cpu": "sklearn"}}},
        "suites": {"mine": {"datasets": ["evil"], "backends": ["evil"], "n_neighbors": [1]}},
        "claims": {
            "evil": {
                "says": title,
                "datasets": ["evil"],
                "slower": {"backends": ["evil-cpu"]},
                "faster": {"backends": ["evil-cpu"]},
                "ratio": [1, 1],
            }
        },
    }
    (project / "mine.yaml").write_text(yaml.safe_dump(overlay))
    snakemake("--configfile", "mine.yaml", "--", "all", "artifact", "export", cwd=project)
    assert not list(project.rglob("pwned*")) and (project / evil / "datasets/evil.hdf5").exists()
    page = (project / "results/mine/report.html").read_text()
    assert "<script>document.title" not in page
    assert "\\input{" not in (project / "results/mine/tables/suite.tex").read_text()


# Archives.


def entry(name, mode=stat.S_IFREG | 0o644):
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


ARCHIVES = {
    **{
        f"name {name!a}": [(name, b"x")]
        for name in NAMES
        if name not in ("", "~", "~root", "é", "-rf", "*", " ", "\u202egpj", "NUL", "!ls")
    },
    "link to outside": [(entry("link", stat.S_IFLNK | 0o777), b"../outside/secret.txt")],
    "link, then a file through it": [(entry("link", stat.S_IFLNK | 0o777), b"../outside"), ("link/pwned", b"x")],
    "device": [(entry("null", stat.S_IFCHR | 0o666), b"")],
    "pipe": [(entry("pipe", stat.S_IFIFO | 0o666), b"")],
    "one name twice": [("a", b"1"), ("a", b"2")],
    "a file that is a folder": [("a", b"1"), ("a/b", b"2")],
    "one name twice, with dots": [("a/b", b"1"), ("a/./b", b"2")],
}


@pytest.mark.parametrize("case", ARCHIVES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives(inside, case):
    """What would leave the folder, or is no plain file, keeps all of it from being unpacked; the rest lies in the folder."""
    with zipfile.ZipFile(inside / "a.zip", "w") as archive:
        archive.writestr("first", "x")
        for name, content in ARCHIVES[case]:
            archive.writestr(name, content)
    (inside / "out").mkdir()
    try:
        unpack(inside / "a.zip", inside / "out")
    except ArchiveError as error:
        assert "a.zip" in str(error) and not list((inside / "out").iterdir())
    else:
        found = list((inside / "out").rglob("*"))
        assert all(path.resolve().is_relative_to(inside / "out") and not path.is_symlink() for path in found)
        for path in found:  # a name with a command in it is a name
            if path.is_file():
                path.unlink()


def test_an_archive_with_a_lie_about_sizes(inside):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10**7))
    data = buffer.getvalue().replace((10**7).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (inside / "a.zip").write_bytes(data)
    (inside / "out").mkdir()
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        unpack(inside / "a.zip", inside / "out")
    assert not list((inside / "out").iterdir())


@pytest.mark.parametrize("size", [10**15, 2**62])
def test_an_archive_for_which_there_is_no_room(inside, size, monkeypatch):
    with zipfile.ZipFile(inside / "a.zip", "w") as archive:
        archive.writestr("a", "x")
    monkeypatch.setattr(
        zipfile.ZipFile, "infolist", lambda self: [setattr(each, "file_size", size) or each for each in self.filelist]
    )
    (inside / "out").mkdir()
    with pytest.raises(ArchiveError, match="and the disk has"):
        unpack(inside / "a.zip", inside / "out")


@pytest.mark.parametrize("seed", range(20))
def test_damaged_archives(inside, seed):
    """Random bytes of a good archive are changed, or its end is lost: it is unpacked as it was, or refused."""
    (inside / "content").mkdir()
    (inside / "content/file.csv").write_text("a,b\n" * 200)
    pack(inside / "content", inside / "a.zip")
    generator = np.random.default_rng(seed)
    data = bytearray((inside / "a.zip").read_bytes())
    for place in generator.integers(len(data), size=1 + seed % 5):
        data[place] = generator.integers(256)
    (inside / "a.zip").write_bytes(data[: len(data) - (seed % 3) * 7])
    (inside / "out").mkdir()
    try:
        unpack(inside / "a.zip", inside / "out")
    except ArchiveError as error:
        assert "a.zip" in str(error) and not list((inside / "out").iterdir())


def test_the_same_folder_gives_the_same_archive(inside):
    for name in ("b", "a/c"):
        (inside / "one" / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / "one" / name).write_text(name)
    pack(inside / "one", inside / "1.zip")
    os.utime(inside / "one/b", (0, 0))
    pack(inside / "one", inside / "2.zip")
    assert (inside / "1.zip").read_bytes() == (inside / "2.zip").read_bytes()
    (inside / "out").mkdir()
    unpack(inside / "1.zip", inside / "out")
    assert (inside / "out/a/c").read_text() == "a/c"


# HDF5 and NumPy files.


def write_virtual(file, name):
    layout = h5py.VirtualLayout((4, 2), "f4")
    layout[:] = h5py.VirtualSource("../outside/secret.hdf5", "train", (4, 2))
    file.create_virtual_dataset(name, layout)


def write_compact_type(file, name):
    file[name] = np.zeros(4, np.dtype([("x", "f4"), ("y", "f4")]))


def write_damaged(file, name):
    values = file.create_dataset(name, (4, 2), "f4", chunks=(2, 2), compression="gzip")
    values.id.write_direct_chunk((0, 0), b"no gzip at all", 0)


def write_huge(file, name):
    file.create_dataset(name, (2**40, 2**20), "f4", chunks=(1, 1024))


HDF5 = {
    "external link": lambda file, name: file.__setitem__(name, h5py.ExternalLink("../outside/secret.hdf5", "train")),
    "external link, absolute": lambda file, name: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "train")),
    "soft link": lambda file, name: file.__setitem__(name, h5py.SoftLink("/elsewhere/train")),
    "soft link through an external one": lambda file, name: (
        file.__setitem__("out", h5py.ExternalLink("../outside/secret.hdf5", "/")),
        file.__setitem__(name, h5py.SoftLink("/out/train")),
    ),
    "soft link to itself": lambda file, name: file.__setitem__(name, h5py.SoftLink(f"/{name}")),
    "stored in a text file": lambda file, name: file.create_dataset(
        name, (5, 4), "u1", external=[("../outside/secret.txt", 0, 20)]
    ),
    "virtual": write_virtual,
    "object references": lambda file, name: file.create_dataset(name, data=[file.ref] * 4, dtype=h5py.ref_dtype),
    "region references": lambda file, name: file.create_dataset(name, (4,), h5py.regionref_dtype),
    "rows of several lengths": lambda file, name: file.create_dataset(name, (4,), h5py.vlen_dtype("f4")),
    "text": lambda file, name: file.create_dataset(name, data=["a", "b"]),
    "fixed text": lambda file, name: file.create_dataset(name, data=np.array([b"a", b"b"])),
    "compound": write_compact_type,
    "opaque": lambda file, name: file.create_dataset(name, (4, 2), np.dtype("V8")),
    "complex": lambda file, name: file.create_dataset(name, (4, 2), "c8"),
    "a group": lambda file, name: file.create_group(name),
    "a number": lambda file, name: file.create_dataset(name, data=3.0),
    "one axis": lambda file, name: file.create_dataset(name, (4,), "f4"),
    "three axes": lambda file, name: file.create_dataset(name, (4, 2, 1), "f4"),
    "no rows": lambda file, name: file.create_dataset(name, (0, 2), "f4"),
    "no columns": lambda file, name: file.create_dataset(name, (4, 0), "f4"),
    "nothing": lambda file, name: file.create_dataset(name, data=h5py.Empty("f4")),
    "damaged chunk": write_damaged,
    "more than a disk holds": write_huge,
    "a type": lambda file, name: file.__setitem__(name, np.dtype("f4")),
    "not there": lambda file, name: None,
    "NaN": lambda file, name: file.create_dataset(name, data=np.full((4, 2), np.nan)),
}


@pytest.mark.parametrize("part", ["train", "test", "neighbors"])
@pytest.mark.parametrize("case", HDF5)
def test_hdf5_files(inside, case, part):
    """A file that points outside of itself, or is not what it says, is refused in words; nothing of others is read."""
    with h5py.File("mine.hdf5", "w") as file:
        file.attrs["distance"] = "euclidean"
        for name, shape in (("train", (4, 2)), ("test", (2, 2)), ("neighbors", (2, 1))):
            if name != part:
                file[name] = np.zeros(shape, int if name == "neighbors" else float)
        HDF5[case](file, part)
    settings = {"source": "file", "path": "mine.hdf5", "metric": "euclidean"}
    harmless = part == "neighbors" and case in (
        "not there",
        "one axis",
        "no rows",
        "no columns",
        "three axes",
        "NaN",
        "a number",
        "damaged chunk",
    )
    try:
        train, test, hosted, _, _ = load(settings)
        write_points("out.hdf5", METRICS["euclidean"], train, test)
    except DataError as error:
        assert len(str(error)) > 20 and SECRET not in str(error)
    else:
        assert harmless, hosted


ATTRIBUTES = {
    "list": [1, 2],
    "empty": h5py.Empty("f4"),
    "number": 3.0,
    "bytes": np.bytes_(b"euclidean"),
    "not UTF-8": np.bytes_(b"\xff\xfe"),
    "compound": np.zeros(1, np.dtype([("x", "f4")])),
    "long": "x" * 60000,
}


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_hdf5_attributes(inside, case):
    """Attributes of any type say nothing, and do no harm."""
    with h5py.File("mine.hdf5", "w") as file:
        file["train"], file["test"], file["neighbors"] = np.zeros((4, 2)), np.zeros((2, 2)), np.zeros((2, 1), int)
        file.attrs["distance"] = ATTRIBUTES[case]
    _, _, hosted, *_ = load({"source": "file", "path": "mine.hdf5", "metric": "euclidean"})
    assert (hosted is not None) == (case == "bytes")


@pytest.mark.full
@pytest.mark.parametrize("seed", range(30))
def test_damaged_hdf5_files(inside, seed):
    """Random bytes of a good file are changed, or its end is lost."""
    with h5py.File("mine.hdf5", "w") as file:
        file["train"], file["test"] = np.random.default_rng(0).normal(size=(40, 2)), np.zeros((2, 2))
    generator = np.random.default_rng(seed)
    data = bytearray((inside / "mine.hdf5").read_bytes())
    for place in generator.integers(len(data), size=1 + 3 * (seed % 7)):
        data[place] = generator.integers(256)
    (inside / "mine.hdf5").write_bytes(data[: len(data) - (seed % 4) * 100])
    # In a process of its own: the HDF5 library may end it.
    script = (
        "from knnbench.problem.sources import load\nfrom knnbench.problem.datasets import write_points\n"
        "from knnbench.problem.metrics import METRICS\nfrom knnbench.problem.points import DataError\n"
        "try:\n    t, q, *_ = load({'source': 'file', 'path': 'mine.hdf5', 'metric': 'euclidean'})\n"
        "    write_points('out.hdf5', METRICS['euclidean'], t, q)\n"
        "except DataError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)),  # it ends, however slow the machine is
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
    )
    assert done.returncode == 0, done.stderr


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("case", ["pickle", "pickle in npz", "text", "header", "empty", "huge"])
def test_numpy_files(inside, case):
    """No pickle is ever loaded."""
    match case:
        case "pickle":
            np.save("a.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
        case "pickle in npz":
            np.savez("a.npz", x=np.array([Bomb()], dtype=object))
            os.rename("a.npz", "a.npy")
        case "text":
            (inside / "a.npy").write_text("1,2\n3,4\n")
        case "header":
            (inside / "a.npy").write_bytes(
                b"\x93NUMPY\x01\x00v\x00{'descr': __import__('os').mkdir('pwned')}".ljust(128) + b"\n"
            )
        case "empty":
            (inside / "a.npy").write_bytes(b"")
        case "huge":
            header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000), }".ljust(117) + b"\n"
            (inside / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    np.save("b.npy", np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"a\.npy"):
        load({"source": "file", "train": "a.npy", "test": "b.npy", "metric": "euclidean"})


# Tables.

GOOD = ROOT / "tests/published/v2"
TABLES = ("timings.csv", "samples.csv", "config.yaml")
EDITS = {
    "empty": lambda text, _: "",
    "one line": lambda text, _: text.split("\n")[0],
    "no header": lambda text, _: text.split("\n", 1)[1],
    "binary": lambda text, generator: generator.bytes(500).decode("latin-1"),
    "zero bytes": lambda text, _: text.replace(",", "\0"),
    "other separators": lambda text, _: text.replace(",", ";").replace(":", "="),
    "an open quote": lambda text, _: text.replace("\n", '\n"', 1),
    "half": lambda text, _: text[: len(text) // 2],
    "a column more": lambda text, _: "\n".join(f"{line},x" for line in text.splitlines()),
    "one line longer": lambda text, _: text + "1,2,3\n" * 3 + ",".join("x" * 200),
    "twice": lambda text, _: text + text,
    "formulas": lambda text, _: text.replace("toy-euclidean", "=HYPERLINK(1)"),
    "large numbers": lambda text, _: text.replace("0.0", "1e999").replace("0", "9" * 30, 3),
    "minus": lambda text, _: text.replace("0.0", "-0.0"),
    "tags": lambda text, _: text.replace("suite:", "suite: !!python/object/apply:os.mkdir [pwned]\nx:").replace(
        "sklearn", "<b>"
    ),
    "aliases": lambda text, _: "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n" + text,
    "deep": lambda text, _: "[" * 5000 + text,
    "NaN": lambda text, _: text.replace("0.0", "nan"),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("case", EDITS)
def test_tables(inside, case, table):
    """Published tables that were changed are found to be, without a crash."""
    for path in GOOD.iterdir():
        (inside / path.name).write_bytes(path.read_bytes())
    text = (GOOD / table).read_text()
    changed = EDITS[case](text, np.random.default_rng(0))
    (inside / table).write_text(changed)
    problems = validate(inside, ROW)
    # Another column beside those that are known does no harm, and another configuration is one.
    unseen = {("a column more", "samples.csv")} | {
        (each, "config.yaml") for each in ("aliases", "twice", "large numbers", "minus", "NaN")
    }
    if changed != text and (case, table) not in unseen:
        assert problems, case
    assert all(isinstance(each, str) and len(each) < 2000 for each in problems)


@pytest.mark.parametrize("seed", range(30))
def test_tables_with_random_edits(inside, seed):
    """A field of a table is replaced by something else."""
    generator = np.random.default_rng(seed)
    for path in GOOD.iterdir():
        (inside / path.name).write_bytes(path.read_bytes())
    name = TABLES[seed % 2]
    lines = [line.split(",") for line in (GOOD / name).read_text().splitlines()]
    row, column = generator.integers(len(lines)), generator.integers(len(lines[0]))
    lines[row][column] = ["", "x", "-1", "1e400", "0", "NaN", "'; DROP", "../..", "9999999999999999999", "True"][seed % 10]
    (inside / name).write_text("\n".join(map(",".join, lines)) + "\n")
    assert all(isinstance(each, str) for each in validate(inside, ROW))


# Results of others.


@pytest.mark.parametrize("part", ["neighbors", "times", "count", "best_search_time"])
@pytest.mark.parametrize(
    "case",
    ["external link", "virtual", "object references", "a group", "nothing", "not there", "damaged chunk", "NaN", "a number"],
)
def test_results_of_ann_benchmarks(inside, case, part):
    path = inside / "results/toy/1/algo/a.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file.attrs.update({"algo": "a", "name": "a", "count": 1, "best_search_time": 0.1, "batch_mode": False})
        file["neighbors"], file["times"] = np.zeros((2, 1), int), np.ones(2)
        if part in file:
            del file[part]
            HDF5[case](file, part)
        else:
            file.attrs[part] = list(ATTRIBUTES.values())[len(case) % len(ATTRIBUTES)]
    try:
        found = read_ann(path, lambda name: None)
    except DataError as error:
        assert "a.hdf5" in str(error)
    else:
        assert found["seconds_per_query"] > 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"benchmarks": 3}',
        '{"benchmarks": [{}]}',
        '{"benchmarks": [{"name": 7}]}',
        '{"benchmarks": [[]]}',
        "[" * 100000,
    ]
    + [
        json.dumps({"benchmarks": [{"name": "a", "items_per_second": value, "Recall": 0.5, "k": 10}]})
        for value in (0, -1, "x", None, [], 1e999)
    ],
    ids=lambda text: text[:60],
)
def test_results_of_cuvs_bench(inside, text):
    (inside / "cuvs,base,k10,bs1.json").write_text(text)
    try:
        found, left_out = read_cuvs(inside / "cuvs,base,k10,bs1.json")
    except DataError as error:
        found, left_out = [], [str(error)]
    assert not found and len(left_out) == 1 and "cuvs,base" in left_out[0]
