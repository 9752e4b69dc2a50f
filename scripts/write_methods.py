"""Print docs/methods.md, what the backends are, from the entries of a config.yaml."""

import argparse
import json
from itertools import groupby
from pathlib import Path

import yaml

HEAD = """# The methods

What is measured, who wrote it, with which parameters and where these come from, and what it lacks. Lists multiply: of `build`
every combination is an index, of `search` a point of its curve; `snakemake tune` also tries what `tune` adds. Metrics that a
library lacks are `unsupported` with the reason.

A list of `search` goes from what looks at least to what looks at most, in all families by the same factor, two, as far as a
parameter can be multiplied. A curve ends where it has a recall of 0.995 (`timing.enough_recall`): points that look at more than
one that has it, in every parameter, are `not_needed`; so are those that are one search with another point, as most graphs take
K for a number of candidates that is smaller. What a curve does not reach is not within the measured settings, and says nothing
of what the method can reach.

Where it is said that a value comes from

- the page: [that of KeOps](https://www.kernel-operations.io/keops/_auto_benchmarks/plot_benchmark_KNN.html),
- VIBE: [its algorithms](https://github.com/vector-index-bench/vibe/tree/main/vibe/algorithms), each with a config.yml,
- ann-benchmarks: [its algorithms](https://github.com/erikbern/ann-benchmarks/tree/main/ann_benchmarks/algorithms), likewise,
- FAISS's wiki: [its guidelines](https://github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index),
- ScaNN's documentation:
  [its algorithms.md](https://github.com/google-research/google-research/blob/master/scann/docs/algorithms.md).

Made from the entries: `python scripts/write_methods.py --config config.yaml > docs/methods.md`.
"""


def settings(entry):
    """What an entry sets, in words."""
    parts = [f"{key} `{json.dumps(entry[key])}`" for key in ("parameters", "build", "search", "tune") if key in entry]
    parts += [f"where `{entry['where']}`"] if "where" in entry else []
    return "; ".join(parts) or "the library's own"


def sentence(text):
    """A text of an entry as a sentence, on one line."""
    text = " ".join(text.split())
    return text[0].upper() + text[1:].removesuffix(".") + "."


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="config.yaml, or a file of your own with backends")
    backends = yaml.safe_load(parser.parse_args().config.read_text(encoding="utf-8"))["backends"]
    print(HEAD)
    measured = {name: entry for name, entry in backends.items() if not entry.get("control")}
    for module, names in groupby(
        sorted(measured, key=lambda name: measured[name]["module"]), lambda name: measured[name]["module"]
    ):
        group = {name: measured[name] for name in names}
        print(f"## {module}\n")
        for name, entry in group.items():
            if method := entry.get("method"):
                lacks = f" It lacks: {sentence(method['lacks'])}" if "lacks" in method else ""
                print(f"- `{name}`: {sentence(method['what'])}{lacks} By {method['by']}; {method['licence']};")
                print(f"  parameters from <{method['source']}>")
        print("\n| entry | label | devices | exact | sets |\n|---|---|---|---|---|")
        for name, entry in group.items():
            devices, exact = ", ".join(entry["environments"]), "yes" if entry["exact"] else "no"
            print(f"| `{name}` | {entry.get('label', name)} | {devices} | {exact} | {settings(entry)} |")
        if origins := {name: entry["origins"] for name, entry in group.items() if "origins" in entry}:
            print("\nWhere the values come from:\n")
            for name, values in origins.items():
                print(f"- `{name}`: {'; '.join(f'`{parameter}`: {origin}' for parameter, origin in values.items())}.")
        print()


if __name__ == "__main__":
    main()
