"""Say of every claim whether it holds in the results of a folder."""

import argparse
import json
from itertools import product
from pathlib import Path

import pandas as pd

from knnbench.results.claims import COLUMNS, check, each_for_itself
from knnbench.results.folder import read


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="results/SUITE, or one of published/")
    parser.add_argument("--claims", type=json.loads, required=True, help="section of the configuration, JSON")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    results = read(arguments.folder)
    host = results.timings[results.timings["residency"] == "host"]
    curves = list(dict.fromkeys(host["curve"]))
    found = []
    for machine, at_machine in host.groupby("machine", sort=False):
        for name, claim in arguments.claims.items():
            for k in claim.get("n_neighbors", sorted(host["n_neighbors"].unique())):
                at_k = at_machine[at_machine["n_neighbors"] == k].astype(object)
                rows = at_k.where(at_k.notna(), None).to_dict("records")
                rows = {(row["dataset"], row["curve"]): row for row in rows}
                for dataset, part in product(claim["datasets"], each_for_itself(claim, curves)):
                    each = check(name, part | {"dataset": dataset}, rows, curves, results.config["timing"])
                    found.append(each | {"n_neighbors": k, "machine": machine})
    pd.DataFrame(found, columns=COLUMNS).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
