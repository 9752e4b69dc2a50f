"""What a configuration says twice: YAML, JSON and command lines take the last and lose the others without a word."""

import itertools
from pathlib import Path

import yaml

from knnbench.config.values import ConfigError, as_read

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time, where libyaml is
LOSES = "the last would take the place of the first; write it once"


def check_file(path):
    """Check that no mapping in a file has a key twice.

    Parameters
    ----------
    path : path of YAML or JSON; what cannot be read is left for others to refuse

    Raises
    ------
    ConfigError
    """
    check_text(Path(path).read_text(encoding="utf-8"), path)


def check_text(text, origin):
    """The same of a text; `origin` is where it comes from, in words."""
    try:
        root = yaml.compose(text.expandtabs(1), LOADER)  # JSON may be indented by tabs
    except yaml.YAMLError:
        return
    left, seen = [(root, "")], set()
    while left:
        node, place = left.pop()
        if id(node) in seen:  # by an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += [(each, f"{place}[{number}]") for number, each in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            lines = {}
            for key, value in node.value:
                name = str(key.value)
                left.append((value, f"{place}.{name}".strip(".")))
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    lines.setdefault((key.tag, name), []).append(str(key.start_mark.line + 1))
            for (_, name), found in lines.items():
                if len(found) > 1:
                    raise ConfigError(f"{origin}: {f'{place}.{name}'.strip('.')} is there more than once, {at(found)}; {LOSES}")


def at(lines):
    """Where a key is, in words."""
    *others, last = dict.fromkeys(lines)
    return f"in lines {', '.join(others)} and {last}" if others else f"in line {last}"


def check_words(words):
    """Check that `--config` gives nothing twice: sections that differ in what they set are laid over each other.

    Parameters
    ----------
    words : list of str, such as "suite=paper" or "timing={rounds: 3}"

    Raises
    ------
    ConfigError
    """
    given = {}
    for key, text in (word.split("=", 1) for word in words):
        check_text(text, f"--config {key}")
        given.setdefault(key, []).append(as_read(text))
    for key, values in given.items():
        for first, second in itertools.combinations(values, 2):
            kinds = {dict, list} & {type(first), type(second)}
            if kinds == {dict, list}:  # entries of a section, and which of them to take
                continue
            if kinds == {dict} and isinstance(first, dict) and isinstance(second, dict):
                if both := first.keys() & second.keys():
                    raise ConfigError(f"--config: {key}.{min(map(str, both))} is there twice; {LOSES}")
                continue
            raise ConfigError(f"--config: {key} is there twice; {LOSES}")
