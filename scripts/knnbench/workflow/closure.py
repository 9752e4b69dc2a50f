"""What a script is made of: itself, and what it imports of knnbench, however far away. Standard library only."""

import ast
import functools

LIBRARY = "knnbench"


def names_in(path, scripts):
    """Modules of knnbench that a file names in its imports, wherever in it they stand.

    What is imported by a name that is only known later, such as that of a backend, is not seen.

    Parameters
    ----------
    path : Path
    scripts : Path, the folder that the library lies in

    Returns
    -------
    names : set of str, dotted; some may be names in a module
    """
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # of the user's backend: its cells say so
        return set()
    package = path.relative_to(scripts).parent.parts
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == LIBRARY}


@functools.cache
def imported(path, scripts):
    """Files of knnbench that a file itself imports, those of their packages included.

    Parameters
    ----------
    path, scripts : Path

    Returns
    -------
    files : frozenset of Path
    """
    stems = {
        scripts.joinpath(*parts[:length])
        for parts in (name.split(".") for name in names_in(path, scripts))
        for length in range(1, len(parts) + 1)
    }
    found = {file for stem in stems for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()}
    return frozenset(found)


@functools.cache
def closure(scripts, *names):
    """All files that a script depends on: an edit of one can change what it makes.

    A module's text that is not Python, such as a template, lies beside it under its name: `page.html` beside `page.py`.

    Parameters
    ----------
    scripts : Path, folder of the scripts and of the library
    names : str, paths of files in it: the script, and what it imports or runs by a name that is not in its text

    Returns
    -------
    files : list of Path, the script first, the others sorted
    """
    given = [scripts / name for name in names]
    found, waiting = set(given), list(given)
    while waiting:
        new = imported(waiting.pop(), scripts) - found
        found |= new
        waiting += new
    beside = {file for module in found for file in module.parent.glob(f"{module.stem}.*") if module.parent != scripts}
    return [given[0], *sorted((found | beside) - {given[0]})]
