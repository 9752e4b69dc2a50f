"""Lay out a backend of one's own: its module, its environment, its entry."""

import re
import subprocess
from pathlib import Path

TEMPLATE = Path(__file__).with_suffix(".txt")
ENTRY = """\
  {name}:
    label: {package}
    module: {module}
    exact: false # true if it looks at every point, or can prove that it need not
    named: true # only in suites that name it
    saves: true
    environments: {{cpu: {name}}}
    build: {{M: [16, 32]}} # your parameters: what needs another index, an index for each
    search: {{ef: [10, 40, 160]}} # and what is set on an index, a point of its curve for each
    method: # for docs/methods.md
      what: to be written
      by: to be written
      licence: to be written
      source: to be written # where the values above come from
"""
BEFORE = "  control-null:"  # the entry whose place the new one takes: controls come last


def refusal(root, name):
    """Why there can be no backend of this name; "" if there can."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        return f"name: {name!r}; small letters and digits, words joined by -, such as my-index"
    there = [path for path in paths(root, name).values() if path.exists()]
    if there:
        return f"{there[0]} is there; choose another name"
    text = (root / "config.yaml").read_text(encoding="utf-8")
    return f"config.yaml: there is an entry {name} already; choose another name" if f"\n  {name}:" in text else ""


def paths(root, name):
    module = name.replace("-", "_")
    return {"module": root / f"scripts/knnbench/backends/{module}.py", "environment": root / f"envs/{name}.yaml"}


def new_backend(root, name, package):
    """Write the files of a new backend; its environment is pinned, with hashes, by what PyPI has now.

    Parameters
    ----------
    root : Path, of the project
    name : str
    package : str, what its library is called on PyPI

    Returns
    -------
    words : str, what is there now, and what to do next

    Raises
    ------
    SystemExit
        The name will not do, or the package cannot be had; nothing is left behind then.
    """
    if why := refusal(root, name):
        raise SystemExit(why)
    places = paths(root, name)
    lock, config = root / "envs/lock.sh", root / "config.yaml"
    kept = lock.read_text(encoding="utf-8")
    lock.write_text(f"{kept.rstrip()}\nenvironment {name} {package} numpy h5py\n", encoding="utf-8")
    made = subprocess.run(["bash", lock, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        lock.write_text(kept, encoding="utf-8")
        places["environment"].unlink(missing_ok=True)
        raise SystemExit(f"package: {package!r} cannot be pinned; is it called so on PyPI?\n{made.stdout[-1000:]}")
    text = TEMPLATE.read_text(encoding="utf-8")
    for word, by in {"LIBRARY": package, "PACKAGE": package, "IMPORT": package.replace("-", "_")}.items():
        text = text.replace(word, by)
    places["module"].write_text(text, encoding="utf-8")
    entry = ENTRY.format(name=name, package=package, module=places["module"].stem)
    before, after = config.read_text(encoding="utf-8").split(BEFORE, 1)
    config.write_text(f"{before}{entry}{BEFORE}{after}", encoding="utf-8")
    return (
        f"{places['module']}: write it; it is brute force by now, and base.py says what each method must do\n"
        f"{places['environment']}: {package}, pinned; its line is in envs/lock.sh\n"
        f"{config}: the entry {name}\n"
        f"Next: pytest tests/test_backends.py -k {name}\n"
        f"      python scripts/write_methods.py --config config.yaml > docs/methods.md\n"
        f"then: snakemake --cores 1 --config backends='[{name}, faiss-flat]' datasets='[rd-a]'\n"
    )
