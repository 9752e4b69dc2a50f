"""A row per dataset and K of a suite: how hard it is, whoever searches it, and what is odd about it."""

import json
import math

BY_K = ("lid", "relative_contrast", "ties")
OF_ALL = ("duplicates", "norm_spread", "query_distance_ratio", "rows_merged", "queries_changed")


BETWEEN = " | "  # remarks in a cell of the table


def known(value):
    """A number of a dataset file; None where it has none."""
    return None if value is None or math.isnan(value) else float(value)


def remarks_of(has):
    """What its attributes say is odd about a dataset: a list of str."""
    text = has.get("remarks", "[]")
    return json.loads(text) if text.startswith("[") else text.splitlines()  # as files of earlier versions have them


def dataset_rows(config, datasets):
    """Rows of datasets.csv.

    Parameters
    ----------
    config : dict, the saved configuration
    datasets : dict, name -> attributes of the dataset file; of one that could not be had, or is older than these numbers, they
        are missing

    Returns
    -------
    rows : list of dict, columns `tables.DATASET`
    """
    return [
        {
            "dataset": name,
            "title": config["datasets"][name]["title"],
            "metric": has["distance"],
            **{
                column: int(has[key]) if key in has else None
                for column, key in (("n", "n"), ("d", "dimension"), ("queries", "q"))
            },
            "n_neighbors": k,
            **{column: known(has[column][k - 1]) if k <= len(has.get(column, ())) else None for column in BY_K},
            **{column: known(has.get(column)) for column in OF_ALL},
            "remarks": BETWEEN.join(remarks_of(has)) or None,
        }
        for name, has in datasets.items()
        for k in config["suites"][config["suite"]]["n_neighbors"]
    ]
