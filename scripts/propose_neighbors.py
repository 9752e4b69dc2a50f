"""Search a dataset file in float64 by direct differences in PyTorch: how make_dataset.py uses a GPU.

Runs in an environment with PyTorch, h5py and NumPy. The answer is ranked again, and scored, by others.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
import torch

from knnbench.problem.datasets import metric_in
from knnbench.problem.metrics import Operations

TRAIN_BLOCK, QUERY_BLOCK = 2**14, 2**11  # a matrix of keys takes 256 MiB


def nearest(metric, train, test, k, device):
    """Find the nearest points.

    Parameters
    ----------
    metric : Metric
    train, test : array or dataset of an HDF5 file, shapes (n, d) and (q, d)
    k : int, at most n
    device : torch.device

    Returns
    -------
    ids : Tensor, shape (q, k), int64
    """
    operations, of = Operations(torch), {"dtype": torch.float64, "device": device}
    queries = torch.as_tensor(test[:], **of)
    keys = torch.full((len(queries), k), torch.inf, **of)
    ids = torch.full((len(queries), k), -1, dtype=torch.int64, device=device)
    for first in range(0, len(train), TRAIN_BLOCK):
        points = torch.as_tensor(train[first : first + TRAIN_BLOCK], **of)
        new = torch.arange(first, first + len(points), device=device)
        for start in range(0, len(queries), QUERY_BLOCK):
            rows = slice(start, start + QUERY_BLOCK)
            some = queries[rows, :, None]
            weights = metric.weight(operations, queries[rows])[:, None], metric.weight(operations, points)
            total = torch.full((len(some), len(points)), 0 if metric.reduce == "sum" else -torch.inf, **of)
            for axis in range(points.shape[1]):
                terms = metric.term(operations)(some[:, axis], points[:, axis])
                total = total.add_(terms) if metric.reduce == "sum" else torch.maximum(total, terms)
            found = torch.cat([keys[rows], metric.finish(operations)(total, *weights)], dim=1)
            keys[rows], places = found.topk(k, dim=1, largest=False)
            ids[rows] = torch.cat([ids[rows], new.expand(len(some), -1)], dim=1).gather(1, places)
    return ids


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="dataset file with train and test")
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True, help=".npy")
    arguments = parser.parse_args()
    with h5py.File(arguments.data, "r") as file:
        train, test = file["train"], file["test"]
        k = min(arguments.k, len(train))
        ids = nearest(metric_in(file), train, test, k, torch.device(arguments.device))
    np.save(arguments.out, ids.cpu().numpy())


if __name__ == "__main__":
    main()
