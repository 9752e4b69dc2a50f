"""With which code results were made: its commit, and what was changed since."""

import functools
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

# What runs, of the project's folder; the rest is measured, made or about the project.
CODE = (
    "Snakefile",
    "rules",
    "scripts",
    "envs",
    "profiles",
    "config.yaml",
    "claims.yaml",
    "requirements.txt",
    "downloads.sha256",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "docs",
)


# Of a repository's own settings, those that would start programs, hide a file or change how a patch is written.
GIT_SETTINGS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.quotePath=true",
    "diff.suppressBlankEmpty=false",
)


class GitError(Exception):
    """Git is not there, or says why it gives no answer."""


@dataclass(frozen=True)
class CodeVersion:
    """Which code this is.

    Attributes
    ----------
    commit : str or None
    changed : list of str or None
        Files of `CODE` that are not as in that commit; those that git does not know included.
    patch : bytes, what was changed, for `git apply`
    reason : str or None, why the commit or what was changed is not known
    """

    commit: str | None = None
    changed: list | None = None
    patch: bytes = b""
    reason: str | None = None


def ask_git(root, index, arguments, given=b"", may_end_with=(0,)):
    """What git prints, asked with its own defaults: nothing of the user's settings and variables, nor of who owns the folder.

    Raises
    ------
    GitError
    """
    # Where the repository is given, git does not look for it, and does not refuse one of another user: its code runs already.
    command = ["git", f"--git-dir={root}/.git", f"--work-tree={root}", "--no-pager", "--literal-pathspecs"]
    command += [word for setting in GIT_SETTINGS for word in ("-c", setting)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    home = dict.fromkeys(("HOME", "XDG_CONFIG_HOME"), str(index.parent))
    alone = dict.fromkeys(("GIT_CONFIG_NOSYSTEM", "GIT_ATTR_NOSYSTEM", "GIT_NO_REPLACE_OBJECTS"), "1")
    env |= home | alone | {"GIT_INDEX_FILE": str(index), "LC_ALL": "C"}
    try:
        done = subprocess.run([*command, *arguments], cwd=root, env=env, input=given, capture_output=True)
    except OSError as error:
        words = "git is not installed" if isinstance(error, FileNotFoundError) else f"git cannot be started: {error}"
        raise GitError(words) from error
    if done.returncode not in may_end_with:
        said = " ".join(done.stderr.decode(errors="replace").split()).removeprefix("fatal: ")
        raise GitError(f"git says: {said}" if said else f"git {arguments[0]} ended with {done.returncode}")
    return done.stdout


def code_version(root):
    """The commit of the code and what was changed since; where it came without its history, what its copy was of.

    Parameters
    ----------
    root : Path, the project's folder

    Returns
    -------
    CodeVersion
    """
    if not os.path.lexists(root / ".git"):
        copied = root / "COMMIT"
        if copied.exists():
            reason = "a copy without its history: whether it was changed since that commit is not known"
            return CodeVersion(copied.read_text(encoding="utf-8").strip(), reason=reason)
        return CodeVersion(reason="the code came without its history")
    commit = None
    with tempfile.TemporaryDirectory() as place:
        # An index of our own: the user's may hide what was changed, be in use, or may not be written.
        git = functools.partial(ask_git, root, Path(place, "index"))
        difference = ["diff-index", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv"]
        try:
            commit = git(["log", "-1", "--no-show-signature", "--format=%H"]).decode().strip()
            git(["read-tree", "HEAD"])
            listed = git(["ls-files", "--others", "--exclude-per-directory=.gitignore", "-z", "--", *CODE])
            new = listed.split(b"\0")[:-1]
            empty = git(["hash-object", "--stdin"]).strip()  # what new files are in the index; no object is written
            entries = [b"100644 %s\t%s\0" % (empty, name) for name in new]
            git(["update-index", "-z", "--index-info"], b"".join(entries))
            git(["update-index", "-q", "--refresh"], may_end_with=(0, 1))  # 1: there are differences
            names = git([*difference, "--name-only", "-z", "HEAD", "--", *CODE])
            as_patch = ["--patch", "--binary", "--full-index", "--src-prefix=a/", "--dst-prefix=b/"]
            patch = git([*difference, *as_patch, "HEAD", "--", *CODE])
        except GitError as error:
            return CodeVersion(commit, reason=str(error))
    repositories = [name for name in new if name.endswith(b"/")]  # of their own: git leaves them out of the patch
    changed = [name.decode(errors="backslashreplace") for name in names.split(b"\0")[:-1] + repositories]
    return CodeVersion(commit, sorted(changed), patch)
