"""Results for others: what a folder of them holds, and with which code they were made."""

import gzip
import shutil
import subprocess

TABLES = ("config.yaml", "timings.csv", "samples.csv", "batches.csv", "comparisons.csv", "provenance.json")
FINDINGS = ("summary.txt", "claims.csv", "scaling.csv", "crossings.csv", "tables")  # made from the tables
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


def code_version(root):
    """The commit of the code and what was changed since; where it came without its history, what its copy was of.

    Parameters
    ----------
    root : Path, the project's folder

    Returns
    -------
    commit : str, empty if nobody knows
    changes : str, as `git diff` prints them, files that git does not know included
    """

    def git(*arguments):
        command = ["git", "-C", str(root), *arguments, *(["--", *CODE] if arguments[0] != "rev-parse" else [])]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout if done.returncode in (0, 1) else ""  # 1: there are differences

    if git("rev-parse", "--show-toplevel").strip() != str(root.resolve()):
        copied = root / "COMMIT"
        return (copied.read_text().strip() if copied.exists() else ""), ""
    new = git("ls-files", "--others", "--exclude-standard").split("\n")[:-1]
    added = [
        subprocess.run(["git", "-C", str(root), "diff", "--no-index", "--", "/dev/null", name], capture_output=True, text=True)
        for name in new
    ]
    return git("rev-parse", "HEAD").strip(), git("diff", "HEAD") + "".join(done.stdout for done in added)


def keep(paths, out):
    """Copy results into a folder for others: samples compressed, the same bytes for the same samples.

    Parameters
    ----------
    paths : list of Path, tables, findings and figures of results/SUITE; `figures/` below it keeps its name
    out : Path, the folder; made
    """
    for path in paths:
        folder = out / "figures" if path.parent.name == "figures" else out
        folder.mkdir(parents=True, exist_ok=True)
        if path.name == "samples.csv":
            with open(folder / "samples.csv.gz", "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                packed.write(path.read_bytes())
        elif path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns(".*"))
        else:
            shutil.copy(path, folder)
