"""Read what a suite's cells and datasets left: the records of the rounds of each cell, the attributes of dataset files."""

import dataclasses
import json

import h5py

from knnbench.config.suite import AUTO, Cell, cells, rounds_of
from knnbench.config.values import ConfigError
from knnbench.measure.statuses import SCHEMA_VERSION


def left_out(config, cell, status, reason):
    """What stands for the records of a cell that got no job."""
    backend = config["backends"][cell.backend]
    return {
        "schema_version": SCHEMA_VERSION,
        "status": status,
        "reason": reason,
        "threads_asked": backend.get("threads"),
        "environment": backend["environments"][cell.device],
        "parameters": backend["parameters"],
        "machine": dict.fromkeys(("node", "cpu", "cpus")),
        "max_rss_bytes": 0,
        "started": None,
    }


def read_datasets(config, folder):
    """Attributes of the files of a suite's datasets: a dict, name -> dict."""
    datasets = {}
    for name in config["datasets"]:
        with h5py.File(folder / f"{name}.hdf5", "r") as file:
            datasets[name] = dict(file.attrs)
    return datasets


def cells_of_round(path):
    """The cells of a round of `timing.rounds: auto`, from what scripts/choose_round.py wrote: a list of Cell.

    Raises
    ------
    ConfigError
        It is no such file.
    """
    try:
        chosen = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [Cell(*(each[field.name] for field in dataclasses.fields(Cell))) for each in chosen]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: it is not whole ({error!r}); delete it, and the round is chosen again") from error


def read_records(config, folder, chosen):
    """Read the records of a suite.

    Parameters
    ----------
    config : dict, the saved configuration
    folder : Path
    chosen : list of Path, of `timing.rounds: auto` what scripts/choose_round.py wrote for each round from the second on

    Returns
    -------
    records : dict, cell -> list of dict
        A record for each round. The workflow has made those that it did not leave out.
    """
    rounds = {cell: [0] if config["timing"]["rounds"] == AUTO else [*rounds_of(config["timing"])] for cell in cells(config)}
    for number, path in enumerate(chosen, start=1):
        for cell in cells_of_round(path):
            rounds[cell].append(number)
    found = {}
    for cell, numbers in rounds.items():
        paths = [folder / cell.record(number) for number in numbers]
        if all(path.exists() for path in paths):
            found[cell] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        elif cell.device == "gpu" and not config["gpu"]:
            found[cell] = [left_out(config, cell, "unavailable", "no NVIDIA GPU here, or gpu: false")]
        else:
            found[cell] = [left_out(config, cell, "skipped", f"over timing.budget_h = {config['timing']['budget_h']:g}")]
    return found
