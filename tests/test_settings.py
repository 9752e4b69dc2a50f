"""Settings of the user's other programs change nothing: Matplotlib's, a notebook's, git's."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, without_privileges
from fontTools.ttLib import TTFont

from knnbench.config.values import as_path
from knnbench.draw.figures import matplotlib
from knnbench.exchange.version import CodeVersion, code_version

PUBLISHED = ROOT / "published/cpu-2core"


def test_a_start_imports_nothing_heavy():
    """Neither what draws nor what brings OpenMP; pandas is imported by Snakemake itself."""
    command = [sys.executable, "-X", "importtime", "-m", "snakemake", "-n", "--cores", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = set(re.findall(r"\| +(\w+)[\w.]*$", done.stderr, re.MULTILINE))
    assert {"snakemake", "knnbench", "h5py"} <= found
    assert not found & {"matplotlib", "sklearn", "scipy", "diptest", "vl_convert", "torch", "jax", "faiss", "pykeops"}


def draw(folder, **variables):
    """Draw a figure of each kind from published tables, in a folder and with variables of the user's."""
    tables = [
        "--config",
        PUBLISHED / "config.yaml",
        "--timings",
        PUBLISHED / "timings.csv",
        "--provenance",
        PUBLISHED / "provenance.json",
    ]
    commands = {
        "plot_speed": ["--folder", PUBLISHED, "--dataset", "rd-a", "--out", "rd-a.svg", "rd-a.png", "rd-a.pdf"],
        "plot_roofline": [*tables, "--out", "roofline.svg"],
        "plot_charts": ["--folder", PUBLISHED, "--dataset", "rd-a", "--figures", '{"dpi": 100}', "--out", "rd-a.recall.png"],
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MPL")} | variables
    for script, arguments in commands.items():
        command = [sys.executable, ROOT / f"scripts/{script}.py", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr[-3000:]
    return {path.name: path.read_bytes() for path in sorted(folder.glob("r*.*"))}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Figures without any settings."""
    figures = draw(tmp_path_factory.mktemp("drawn"))
    assert len(figures) == 5
    return figures


RC = (
    "text.usetex: True\nfont.family: serif\naxes.facecolor: '#eeeeee'\nsavefig.bbox: tight\nsvg.fonttype: path\n"
    "axes.formatter.use_locale: True\nfigure.max_open_warning: 1\nbackend: module://not_here\n"
)


def matplotlibrc_of_the_working_folder(folder):
    (folder / "matplotlibrc").write_text(RC)
    return {}


def matplotlibrc_that_cannot_be_read(folder):
    (folder / "matplotlibrc").write_bytes(b"# f\xfcr mich\n" + RC.encode())
    return {"MATPLOTLIBRC": "matplotlibrc"}


def folder_of_settings(folder):
    (folder / "mine/stylelib").mkdir(parents=True)
    (folder / "mine/matplotlibrc").write_text(RC)
    (folder / "mine/stylelib/grey.mplstyle").write_bytes(b"# gr\xfcn\n")
    return {"MPLCONFIGDIR": str(folder / "mine")}


def notebook(folder):
    return {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}


def no_home(folder):
    return {"HOME": "/proc/none", "MPLCONFIGDIR": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "MPLBACKEND": "none"}


def fonts(folder):
    """Another DejaVu Sans than Matplotlib's, and whatever else is asked for, are the user's."""
    serif = TTFont(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSerif.ttf"))
    (folder / ".fonts").mkdir()
    for family in ("DejaVu Sans", "Arial", "sans-serif"):
        for record in serif["name"].names:
            if record.nameID in (1, 4, 16):
                record.string = family
        serif.save(folder / f".fonts/{family}.ttf")
    (folder / ".config/fontconfig").mkdir(parents=True)
    (folder / ".config/fontconfig/fonts.conf").write_text("<fontconfig><dir>~/.fonts</dir></fontconfig>")
    return {"HOME": str(folder)}


@pytest.mark.full
@pytest.mark.parametrize(
    "settings",
    [matplotlibrc_of_the_working_folder, matplotlibrc_that_cannot_be_read, folder_of_settings, notebook, no_home, fonts],
    ids=lambda settings: settings.__name__,
)
def test_figures_are_those_without_settings(tmp_path, drawn, settings):
    assert draw(tmp_path, **settings(tmp_path)) == drawn


def git(folder, *arguments):
    """Git as the tests need it, by itself."""
    names = {f"GIT_{who}_{what}": "a@b.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    bare = {"PATH": os.environ["PATH"], "HOME": "/proc/none", "GIT_CONFIG_NOSYSTEM": "1"} | names
    command = ["git", "-c", "safe.directory=*", "-c", "protocol.file.allow=always", "-C", folder, *arguments]
    return subprocess.run(command, env=bare, check=True, capture_output=True, text=True).stdout.strip()


ODD = ["scripts/a space.py", 'scripts/a "quote".py', "scripts/ümlaut.py", "scripts/two\nlines.py", "scripts/[a]*.py"]


@pytest.fixture
def checkout(tmp_path):
    """A repository with a commit, and after it with a change of every kind."""
    folder = tmp_path / "a check out"
    (folder / "scripts").mkdir(parents=True)
    for name in ("Snakefile", "README.md", "scripts/same.py", "scripts/gone.py", ODD[0]):
        (folder / name).write_text(f"{name}\n\nend\n")
    (folder / "scripts/logo.png").write_bytes(bytes(range(256)))
    (folder / "elsewhere.txt").write_text("as it was")
    (folder / ".gitignore").write_text("*.pyc\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "scripts/gone.py").unlink()
    (folder / "scripts/logo.png").write_bytes(bytes(range(255, -1, -1)))
    (folder / "README.md").write_bytes(b"not UTF-8: \xfc\n\nend\n")
    for name in ODD:
        (folder / name).write_text("changed or new\n")
    (folder / "scripts/same.pyc").write_text("ignored")
    (folder / "elsewhere.txt").write_text("not code")
    os.utime(folder / "Snakefile")  # newer, and the same
    return folder


CHANGED = sorted([*ODD, "README.md", "scripts/gone.py", "scripts/logo.png"])
# What people have in their settings.
DIFF_SETTINGS = """
[diff]
    noprefix = true
    mnemonicPrefix = true
    external = false
    renames = copies
    orderFile = /proc/none
[diff "mine"]
    textconv = false
[color]
    ui = always
[core]
    pager = false
    fsmonitor = false
    quotePath = false
    attributesFile = ~/attributes
    excludesFile = ~/ignored
[log]
    showSignature = true
"""


def settings_of_the_user(checkout, home):
    (home / ".gitconfig").write_text(DIFF_SETTINGS)
    (home / ".config/git").mkdir(parents=True)
    for name in ("attributes", ".config/git/attributes"):
        (home / name).write_text("* diff=mine\n")
    for name in ("ignored", ".config/git/ignore"):
        (home / name).write_text("*\n")
    return {"HOME": str(home)}


def broken_settings(checkout, home):
    (home / ".gitconfig").write_text("[diff\n")
    return {"HOME": str(home), "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"), "GIT_CONFIG_SYSTEM": str(home / ".gitconfig")}


def settings_of_the_repository(checkout, home):
    with open(checkout / ".git/config", "a", encoding="utf-8") as file:
        file.write(DIFF_SETTINGS.replace("fsmonitor = false", f"fsmonitor = {home}/none"))
    (checkout / ".git/info/exclude").write_text("*\n")
    (home / "attributes").write_text("* diff=mine\n")
    return {"HOME": str(home)}


def files_that_are_said_to_be_unchanged(checkout, home):
    git(checkout, "update-index", "--assume-unchanged", "README.md", "scripts/logo.png")
    git(checkout, "update-index", "--skip-worktree", "scripts/gone.py")
    return {}


def variables_of_a_hook(checkout, home):
    return {
        "GIT_DIR": "/proc/none",
        "GIT_WORK_TREE": "/proc",
        "GIT_INDEX_FILE": ".git/none",
        "GIT_EXTERNAL_DIFF": "false",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "diff.noprefix",
        "GIT_CONFIG_VALUE_0": "true",
        "GIT_LITERAL_PATHSPECS": "0",
        "GIT_PREFIX": "scripts/",
        "LC_ALL": "de_DE.UTF-8",
        "LANGUAGE": "de",
    }


def everything_is_of_another_user(checkout, home):
    if os.getuid():
        pytest.skip("only root can give files away")
    for path in [checkout, *checkout.rglob("*")]:
        os.chown(path, 65534, 65534, follow_symlinks=False)
    return {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}


def staged(checkout, home):
    git(checkout, "add", "-A")
    (checkout / ".git/index.lock").write_text("")  # somebody is at it
    return {}


@pytest.mark.parametrize(
    "settings",
    [
        lambda checkout, home: {},
        settings_of_the_user,
        broken_settings,
        settings_of_the_repository,
        files_that_are_said_to_be_unchanged,
        variables_of_a_hook,
        everything_is_of_another_user,
        staged,
    ],
    ids=lambda settings: settings.__name__,
)
def test_what_was_changed_is_known(checkout, tmp_path, monkeypatch, settings):
    home = tmp_path / "home"
    home.mkdir()
    commit = git(checkout, "rev-parse", "HEAD")
    git(tmp_path, "clone", "-q", checkout, "copy")
    for name, value in settings(checkout, home).items():
        monkeypatch.setenv(name, value)
    index = (checkout / ".git/index").read_bytes()
    version = code_version(checkout)
    assert (version.commit, version.changed, version.reason) == (commit, CHANGED, None)
    assert (checkout / ".git/index").read_bytes() == index
    # The patch makes of the commit what is there.
    (tmp_path / "patch").write_bytes(version.patch)
    git(tmp_path / "copy", "apply", tmp_path / "patch")
    for name in CHANGED:
        here, there = checkout / name, tmp_path / "copy" / name
        assert here.exists() == there.exists() and (not here.exists() or here.read_bytes() == there.read_bytes())


def test_a_checkout_of_another_user_that_may_not_be_written(checkout):
    everything_is_of_another_user(checkout, None)
    (checkout / "scripts/[a]*.py").chmod(0o755)
    words = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); from pathlib import Path;"
    words += f" from knnbench.exchange.version import code_version; print(code_version(Path({str(checkout)!r})))"
    done = subprocess.run(without_privileges([sys.executable, "-c", words]), capture_output=True, text=True)
    assert done.stdout == f"{code_version(checkout)}\n" and code_version(checkout).changed == CHANGED, done.stderr
    assert "new file mode 100755" in done.stdout


def test_nothing_was_changed(checkout):
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "second")
    assert code_version(checkout).changed == [] and code_version(checkout).patch == b""
    git(checkout, "init", "-q", "scripts/theirs")  # whose files git would not look at
    (checkout / "scripts/theirs/module.py").write_text("")
    assert code_version(checkout).changed == ["scripts/theirs/"]


@pytest.mark.parametrize("kind", ["worktree", "submodule", "shallow"])
def test_kinds_of_checkouts(checkout, tmp_path, kind):
    commit = git(checkout, "rev-parse", "HEAD")
    folder = tmp_path / "larger/here"
    folder.parent.mkdir()
    git(folder.parent, "init", "-q")
    if kind == "worktree":
        git(checkout, "worktree", "add", "-q", folder)
    elif kind == "submodule":
        git(folder.parent, "submodule", "add", "-q", checkout, "here")
    else:
        git(tmp_path, "clone", "-q", "--depth=1", f"file://{checkout}", folder)
    (folder / "Snakefile").write_text("")
    version = code_version(folder)
    assert (version.commit, version.changed, version.reason) == (commit, ["Snakefile"], None)


def test_what_is_not_known_is_not_said(checkout, tmp_path, monkeypatch):
    """Neither a commit of somebody else's, nor that nothing was changed."""
    commit = git(checkout, "rev-parse", "HEAD")
    git(tmp_path, "init", "-q")  # a larger repository
    bare = shutil.copytree(checkout, tmp_path / "bare", ignore=shutil.ignore_patterns(".git"))
    version = code_version(bare)
    assert (version.commit, version.changed) == (None, None) and "without its history" in version.reason
    (bare / "COMMIT").write_text(f"{commit}\n")  # of an artifact
    version = code_version(bare)
    assert (version.commit, version.changed) == (commit, None) and "whether it was changed" in version.reason
    git(bare, "init", "-q", "-b", "main")
    version = code_version(bare)
    assert (version.commit, version.changed) == (None, None) and "does not have any commits yet" in version.reason
    shutil.rmtree(bare / ".git")
    (bare / ".git").write_text("gitdir: /proc/none\n")
    version = code_version(bare)
    assert (version.commit, version.changed) == (None, None) and "not a git repository: /proc/none" in version.reason

    blob = git(checkout, "rev-parse", "HEAD:README.md")
    (checkout / f".git/objects/{blob[:2]}/{blob[2:]}").unlink()
    version = code_version(checkout)
    assert (version.commit, version.changed, version.patch) == (commit, None, b"") and blob in version.reason
    monkeypatch.setenv("PATH", str(tmp_path / "scripts"))
    assert code_version(checkout) == CodeVersion(reason="git is not installed")
    (tmp_path / "git").write_text("not a program")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version(checkout).reason == "git cannot be started: [Errno 13] Permission denied: 'git'"


def test_a_commit_that_is_not_known_is_null_and_the_page_says_why(tmp_path):
    folder = shutil.copytree(PUBLISHED, tmp_path / "here")
    provenance = folder / "provenance.json"
    ceilings = json.loads(provenance.read_text())["ceilings"]
    (tmp_path / "cpu.json").write_text(json.dumps(ceilings["cpu"]))
    commands = {
        "write_provenance": ["--timings", folder / "timings.csv", "--ceilings", tmp_path / "cpu.json", "--out", provenance],
        "make_report": [
            "--folder",
            folder,
            "--claims",
            folder / "claims.csv",
            "--logs",
            folder,
            "--out",
            folder / "report.html",
        ],
        "validate_results": [folder],
    }
    without_git = os.environ | {"PATH": str(tmp_path)}
    said = {}
    for script, arguments in commands.items():
        command = [sys.executable, ROOT / f"scripts/{script}.py", *arguments]
        done = subprocess.run(command, env=without_git, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        said[script] = done.stdout
    written = json.loads(provenance.read_text())
    assert written["commit"] is None and written["changed"] is None
    assert written["code_reason"] in said["write_provenance"]
    assert f"Commit not known ({written['code_reason']})." in (folder / "report.html").read_text()


def test_a_place_has_one_path(tmp_path, monkeypatch):
    """However it is spelled, so that nothing is made again for a spelling."""
    (tmp_path / "run/data").mkdir(parents=True)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    spelled = ["data", "./data", "data/", "../run/data", str(tmp_path / "run/data"), str(tmp_path / "elsewhere/data")]
    assert {as_path(path, "resources_dir", {}) for path in spelled} == {"data"}
    (tmp_path / "run/points.npy").symlink_to(tmp_path / "0a1b2c")
    assert as_path("points.npy", "x", {}) == "points.npy" and as_path("", "x", {}) == ""
    assert as_path("../b/c", "x", {}) == str(tmp_path / "b/c") and as_path("https://a/../b", "x", {}) == "https://a/../b"
