"""A dataset file: points from their source, checked, with their exact neighbours."""

import json
import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import h5py
import numpy as np

from knnbench.problem.datasets import TRUTH_K, map_array, write_neighbors, write_points, write_unavailable
from knnbench.problem.hardness import hardness
from knnbench.problem.narrow import outside_float32
from knnbench.problem.own_metrics import content_of, ignores_origin, metric_of
from knnbench.problem.own_rows import choose_own, without_own
from knnbench.problem.points import BLOCK_NUMBERS, DataError, covariance
from knnbench.problem.recall import score
from knnbench.problem.remarks import Columns, oddities
from knnbench.problem.rounding import CHANGED, Rounding, centred, losses, mean
from knnbench.problem.sources import load
from knnbench.problem.truth import SPARE, exact_neighbors, rank

FEW = 3  # queries that every point is tried with, under a metric of one's own
PROPOSE = Path(__file__).parents[2] / "propose_neighbors.py"  # by another interpreter


def make_dataset(settings, files, path):
    """Make the file of a dataset: all of it, or nothing.

    A dataset whose download could not be had becomes a file that says so, and its cells are unavailable.

    Parameters
    ----------
    settings : dict, the dataset's entry in the configuration, and `truth_k` if it is not the default
    files : list of str, the receipt of its download, or one's own files; None without any
    path : Path

    Raises
    ------
    SystemExit
        One's own file is wrong, a download is gone, or the file cannot be written.
    """
    # Others may look for it. In two containers, two of us may have one process id.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        make(settings, files, part)
        os.replace(part, path)
    except OSError as error:  # a full disk, say
        raise SystemExit(f"{path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def make(settings, files, out):
    """Write the dataset of an entry of the configuration, from the receipt of its download or one's own files, to `out`."""
    entry = settings.get("metric_entry")
    metric = metric_of(settings["metric"], entry)
    about = {
        "title": settings["title"],
        "license": settings.get("license"),
        "settings": json.dumps(settings, sort_keys=True),
    }
    receipt = json.loads(Path(files[0]).read_text(encoding="utf-8")) if settings["source"] == "url" else {}

    def give_up(reason):
        """One's own file is to be repaired; without a download the other datasets go on."""
        if settings["source"] != "url":
            raise SystemExit(reason)
        write_unavailable(out, metric, reason, **about)
        print(reason)

    if receipt.get("asked", settings.get("url")) != settings.get("url"):
        raise SystemExit(f"{files[0]} is of {receipt['asked']}, and {settings['url']} is wanted; delete it and run again")
    if receipt.get("status") == "unavailable":
        return give_up(receipt["reason"])
    if receipt and not Path(receipt["path"]).exists():  # to be unavailable would replace what was measured
        raise SystemExit(f"{receipt['path']} is gone; put it back, or delete {files[0]} to have it downloaded again")
    remarks = []

    def remark(*sentences):
        """Say what is odd about the points; whoever reads of the dataset, reads it again."""
        for sentence in filter(None, sentences):
            remarks.append(sentence)
            print(sentence)

    try:

        def read(columns=None):
            """Points and queries as they came, centred if that is asked for; and the rest that `load` knows.

            A list `columns` gets the Columns of both, before they are centred.
            """
            train, test, *more = load(settings, receipt.get("path"))
            if columns is not None:
                columns += [Columns(points) for points in (train, test) if points]
                train, test, *_ = *(each.points for each in columns), None
            if settings.get("centre"):
                train, test = (points and centred(points, centre) for points in (train, test))
            return train, test, *more

        centre = mean(load(settings, receipt.get("path"))[0]) if settings.get("centre") else None
        if entry and entry.get("matrix") == "data":
            metric = metric_of(settings["metric"], entry, covariance(read()[0]))
        columns = [] if settings["source"] in ("file", "url") else None  # what is drawn is known
        train, test, hosted, origin, found = read(columns)
        remark(*found, beyond_plan(settings, train, test))
        own = choose_own(settings, train.shape[0]) if settings.get("self") else None
        rounding = Rounding(train, test)
        apart = "path" not in settings and "url" not in settings  # in files of their own
        origins = [settings.get(part, origin) if apart else f"{origin}, {part}" for part in ("train", "test")]
        source = {"source": origin, "source_sha256": receipt.get("sha256")}
        defined = content_of(entry) if entry else ""
        write_points(out, metric, rounding.train, rounding.test, origins, own, defined, **about, **source)
    except DataError as error:
        return give_up(str(error))
    if columns:
        remark(*oddities(metric, *columns))
    remark(rounding.remark())

    train = map_array(out, "train")
    with h5py.File(out, "r") as file:
        test = file["test"][:]
    if entry and (wrong := not_a_number(metric, train, test)):
        raise SystemExit(f"{origin}: {wrong}; say which points it is for (domain), or repair them")
    start = time.perf_counter()
    k = min(settings.get("truth_k", TRUTH_K) + (own is not None), len(train))
    ids = propose_on_gpu(out, k)
    if ids is None:
        neighbors, distances = exact_neighbors(metric, train, test, k)
    else:
        neighbors, distances = rank(metric, train, test, ids, k)
    if own is not None:
        neighbors, distances = without_own(neighbors, own, distances)
    where = "CPU" if ids is None else "GPU"
    print(f"{len(test)} queries x {train.shape} points: exact neighbours in {time.perf_counter() - start:.1f} s, {where}")
    if not np.isfinite(distances).all():
        query, rank_of = np.argwhere(~np.isfinite(distances))[0]
        raise SystemExit(
            f"{origin}: {metric.name} is {distances[query, rank_of]} for query {query} and point {neighbors[query, rank_of]};"
            " say which points it is for (domain), or repair them"
        )
    remark(outside_float32(metric, train, test, neighbors))
    lost = losses(rounding, metric, read, neighbors, own)
    if lost.get("queries_changed", 0) >= CHANGED:
        remedy = "say centre: true" if ignores_origin(metric) and not settings.get("centre") else "scale or shift them"
        remark(
            f"float32, in which points are searched, gives {lost['queries_changed']:.2%} of the queries other nearest"
            f" neighbours than among the points as they came; {remedy}, or backends are exact for other points than yours"
        )
    agreement = None
    if hosted is not None:
        compared = min(hosted.shape[-1], k)
        try:
            agreement = score(metric, train, test, hosted[..., :compared], compared, neighbors, distances)["recall"]
        except ValueError as error:
            return give_up(f"{origin}: its own neighbors cannot be compared: {error}; repair or remove them")
        said = f"the file's own neighbours agree with ours for {agreement:.4%} of the ids, ties counted as equal"
        (remark if agreement < 1 else print)(said)
    start = time.perf_counter()
    hard = hardness(metric, train, test, distances)
    print(f"how hard that was: {time.perf_counter() - start:.1f} s")
    said = {"hosted_neighbors_recall": agreement, "remarks": json.dumps(remarks) if remarks else None}
    write_neighbors(out, neighbors, distances, **said, **lost, **hard)


def beyond_plan(settings, train, test):
    """What a download has more of than its entry says for the plan, which does not bound it; "" if it has not."""
    said = {key: settings[key] for key in ("n", "d", "queries") if key in settings and settings["source"] == "url"}
    asked = None if test is None or "split" in settings else test.shape[0]
    has = {"n": train.shape[0] + settings.get("split", 0), "d": train.shape[1], "queries": asked}
    if not (more := [key for key, number in said.items() if (has[key] or 0) > number]):
        return ""
    said, has = (" and ".join(f"{key}: {each[key]:,}" for key in more) for each in (said, has))
    return f"its entry says {said}, and the file has {has}: all are taken; rows: takes fewer points"


def not_a_number(metric, train, test):
    """Of what a metric makes no number, each point tried with some queries and each query with some points; "" of none."""
    for points, others, words in ((train, test, "query {1} and point {0}"), (test, train, "query {0} and point {1}")):
        few = np.asarray(others[:FEW])
        step = max(1, BLOCK_NUMBERS // (FEW * points.shape[1]))
        for first in range(0, len(points), step):
            block = np.asarray(points[first : first + step])
            queries, searched = (few[:, None], block) if points is train else (block[None], few[:, None])
            with np.errstate(all="ignore"):
                keys = metric.keys(queries.astype(np.float64), searched.astype(np.float64))
            if np.isnan(keys).any():
                other, number = np.argwhere(np.isnan(keys))[0]
                return f"{metric.name} is nan for {words.format(first + number, other)}"
    return ""


def propose_on_gpu(data, k):
    """Ids of the k nearest points and some to spare by a search in float64 on the GPU; None without one, or if it failed."""
    python = os.environ.get("KNNBENCH_GPU_PYTHON", "")
    if not Path(python).is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "ids.npy")
        command = [python, PROPOSE, "--data", data]
        done = subprocess.run(
            [*command, "--k", str(k + SPARE), "--out", out], stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
        )
        if done.returncode == 0:
            return np.load(out)
        print(f"the GPU did not find the neighbours, the CPU does: {done.stderr[-2000:]}", flush=True)
        return None
