"""What a configuration says: numbers, texts and names as the schema wants them, and entries laid over each other."""

import contextlib
import copy
import datetime
import difflib
import math
import os
import re

import yaml

NAMED = r"\$(?:(\w+)|\{(\w+)\})"  # a variable in a path
ENTRIES = {"metrics", "datasets", "backends", "suites", "claims"}  # sections of named entries; in the others are settings


class ConfigError(ValueError):
    """A configuration that cannot be run; the message says where, what is allowed and what to do."""


def named(mapping, place):
    """A mapping of a configuration by names that are text: a whole number is the name in digits.

    Raises
    ------
    ConfigError
        YAML read a name as something else.
    """
    names = {}
    for name, value in mapping.items():
        text = as_text(name, f"{place}, a name")
        if text in names:
            raise ConfigError(f"{place}: {text} is there twice, as a number and as text; rename one of them")
        names[text] = value
    return names


def as_text(value, place):
    """What a configuration says where text is wanted: of a whole number, its digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"{place}: {value!r} is no text, as YAML reads it; put what you wrote in quotes")


def as_path(text, place, variables):
    """A path with the home folder for a ~ at its beginning, and variables for their names; addresses stay as they are.

    However it is spelled, one place has one path: what depends on a path is not made again because it was written otherwise.

    Parameters
    ----------
    text, place : str
    variables : mapping, name -> value, for $NAME and ${NAME}

    Raises
    ------
    ConfigError
        There is no such user, or no such variable.
    """
    if text.startswith(("http://", "https://")):
        return text
    path = os.path.expanduser(text)
    names = [max(pair) for pair in re.findall(NAMED, path)] + ["~"] * path.startswith("~")
    if lacking := [name for name in names if not variables.get(name)]:
        what = f"the variable {lacking[0]} is not set" if lacking[0] != "~" else "there is no such home folder"
        raise ConfigError(f"{place}: {text}: {what}; set it, or write the path out")
    return one_spelling(re.sub(NAMED, lambda found: variables[found[1] or found[2]], path))


def one_spelling(path):
    """The path of a place: relative within the folder of the run, else absolute, with no link above the last part.

    A link in the last part stays: its name may end in what the name of the file that it leads to does not.
    """
    if not path:
        return path
    folder, name = os.path.split(os.path.abspath(path))
    place, here = os.path.join(os.path.realpath(folder), name), os.getcwd()
    return os.path.relpath(place, here) if os.path.commonpath([place, here]) == here else place


def named_variables(config, variables):
    """The variables that a configuration may name in its paths: a dict of those that are set."""
    return {name: variables[name] for name in map(max, re.findall(NAMED, str(config))) if name in variables}


def as_number(value, place, whole, endless):
    """What a configuration says where a number is wanted; the schema refuses what is none."""
    if isinstance(value, str):
        for read in (int, float):
            with contextlib.suppress(ValueError):
                value = read(value)
                break
    if isinstance(value, float) and (math.isnan(value) or (math.isinf(value) and not endless)):
        kind = "integer" if whole else "number"
        raise ConfigError(f"{place}: {value} is not of type {kind!r}; write a finite one")
    return int(value) if whole and isinstance(value, float) and value.is_integer() else value


def as_read(text):
    """What YAML makes of a text: true, 12, or the text itself."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def complete(schema, value, root, variables, place=""):
    """What a configuration says, with the schema's defaults, and with the types that the schema wants where that is plain.

    A text of `format: path` is a path, as `as_path` reads it. Names and words may be whole numbers. Below the top level,
    `--config timing='{rounds: 3}'` gives strings, and other programs write 500.0.

    Parameters
    ----------
    schema : dict, of the value
    value : anything that YAML can say
    root : dict, the whole schema
    variables : mapping, for paths
    place : str, of the value, for errors

    Returns
    -------
    value : a new one; what the schema does not want is left for it to refuse

    Raises
    ------
    ConfigError
    """
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    kind, at = schema.get("type"), place or "top level"
    if isinstance(value, dict):
        value, parts = named(value, at), schema.get("properties", {})
        if kind == "object":
            value |= {
                key: copy.deepcopy(part["default"]) for key, part in parts.items() if "default" in part and key not in value
            }
        others = schema.get("additionalProperties") or {}
        return {
            key: complete(parts.get(key, others), each, root, variables, f"{place}.{key}".strip("."))
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [
            complete(schema.get("items", {}), each, root, variables, f"{place}[{number}]") for number, each in enumerate(value)
        ]
    if kind == "string":
        text = as_text(value, at)
        return as_path(text, at, variables) if schema.get("format") == "path" else text
    if kind in ("integer", "number"):
        return as_number(value, at, kind == "integer", schema.get("maximum") == math.inf)
    if kind == "boolean" or "enum" in schema or "anyOf" in schema:
        value = as_read(value) if isinstance(value, str) else value
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(value, datetime.date):  # in parameters of a backend, which are JSON
        return as_text(value, at)
    return value


def entries(layers):
    """Lay the entries of configurations over each other: each is, whole, that of the last one which names it.

    Parameters
    ----------
    layers : list of dict, what config.yaml says, the user's files in their order, and the command line

    Returns
    -------
    entries : dict, section -> name -> entry
    replaced : set of (section, name), entries that took the place of another one

    Raises
    ------
    ConfigError
    """
    found, replaced = {}, set()
    for layer in layers:
        for section in ENTRIES & layer.keys():
            below, above = found.get(section), layer[section]
            if isinstance(above, dict):
                below, above = below if isinstance(below, dict) else {}, named(above, section)
                replaced |= {(section, name) for name in above.keys() & below.keys()}
                # One by one, since aliases of YAML would be one entry under two names.
                above = below | {name: copy.deepcopy(entry) for name, entry in above.items()}
            found[section] = above
    return found, replaced


def command_line(words, schema):
    """What the command line says of entries and of texts, as it is written, a layer for each; lists of names as `only`.

    Snakemake reads numbers at the top level, 1e3 as 1000.0 in a name, and none below it.

    Parameters
    ----------
    words : list of str, such as "suite=1e3" or "datasets={mine: {...}}"
    schema : dict
    """
    kept = ENTRIES | {key for key, part in schema["properties"].items() if part.get("type") == "string"}
    pairs = [word.split("=", 1) for word in words]
    said = [(key, text.strip("'\"")) for key, text in pairs if key in kept]  # as Snakemake does
    read = [(key, as_read(text) if key in ENTRIES else text) for key, text in said]
    only = {key: value for key, value in read if isinstance(value, list)}  # no section, but what to take of a suite
    return [{key: value} for key, value in read if key not in only] + [{"only": only}] * bool(only)


def suggest(name, known):
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def require_known(place, names, known):
    for name in names:
        if name not in known:
            raise ConfigError(f"{place}: unknown name {name!r}; {suggest(name, known)}known are {', '.join(known)}")


def require_file(place, name, folder, suffix):
    known = sorted(path.stem for path in folder.glob(f"*{suffix}"))
    if name not in known:
        hint = f"{suggest(name, known)}there are {', '.join(known)}"
        raise ConfigError(f"{place}: there is no {folder.name}/{name}{suffix}; {hint}")
