"""Read results of ann-benchmarks or cuvs-bench as tables of ours, to be merged with ours."""

import argparse
import json
from pathlib import Path

from knnbench.exchange.imported import import_results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--foreign", type=Path, required=True, help="ann-benchmarks' folder results, or cuvs-bench's of datasets"
    )
    parser.add_argument(
        "--names", type=json.loads, required=True, help="what others call our datasets: their name -> ours, JSON"
    )
    parser.add_argument("--config", type=json.loads, required=True, help="datasets and timing of the configuration, JSON")
    parser.add_argument(
        "--datasets", type=Path, required=True, help="folder of the dataset files; recalls are counted where one is there"
    )
    parser.add_argument("--schema", type=Path, required=True, help="of a row of timings.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    asked = parser.parse_args()
    import_results(asked.foreign, asked.names, asked.config, asked.datasets, asked.schema, asked.out)


if __name__ == "__main__":
    main()
