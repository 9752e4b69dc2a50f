"""Results as others get them."""

import gzip
import shutil


def pack(content, path):
    """Write bytes compressed: the same file for the same bytes."""
    with open(path, "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(content)


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
            pack(path.read_bytes(), folder / "samples.csv.gz")
        elif path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns(".*"))
        else:
            shutil.copy(path, folder)
