"""Brute forces and a loop by hand, without knnbench, as the documentation of each library shows them.

Each takes points, shape (n, d), and gives a function (queries, k) -> ids, an array of the host, shape (q, k). They are what
adapters.py compares adapters with and bare_loop.py recorded medians; that runs this file in a library's environment, and it
prints the seconds of each repeat as JSON. The first call is apart.
"""

import argparse
import json
import time

import numpy as np

MATRIX_BYTES = 500_000_000  # of distances at once, as the KeOps page has it


def torch(train):
    import torch

    torch.set_grad_enabled(False)
    points = torch.from_numpy(train)
    squares = (points**2).sum(1)
    step = max(1, MATRIX_BYTES // (4 * len(train)))

    def ask(queries, k):
        ids = []
        for batch in torch.from_numpy(queries).split(step):
            distances = (batch**2).sum(1, keepdim=True) + squares - 2 * (batch @ points.T)
            ids.append(distances.topk(k, dim=1, largest=False).indices)
        return torch.cat(ids).numpy()

    return ask


def jax(train):
    import functools

    import jax
    import jax.numpy as jnp

    points = jax.device_put(train)
    squares = (points**2).sum(1)
    step = max(1, MATRIX_BYTES // (4 * len(train)))

    @functools.partial(jax.jit, static_argnums=3)
    def nearest(queries, points, squares, k):
        dot = jnp.matmul(queries, points.T, precision="highest")
        return jax.lax.top_k(-((queries**2).sum(1, keepdims=True) + squares - 2 * dot), k)[1]

    def ask(queries, k):
        batches = [queries[first : first + step] for first in range(0, len(queries), step)]
        return np.concatenate([nearest(jax.device_put(batch), points, squares, k) for batch in batches])

    return ask


def keops(train):
    import torch
    from pykeops.torch import Vi, Vj

    d = train.shape[1]
    nearest = ((Vi(0, d) - Vj(1, d)) ** 2).sum(-1)
    points = torch.from_numpy(train)
    return lambda queries, k: nearest.argKmin(k, dim=1)(torch.from_numpy(queries), points).numpy()


def faiss(train):
    import faiss

    index = faiss.IndexFlatL2(train.shape[1])
    index.add(train)
    return lambda queries, k: index.search(queries, k)[1]


def sklearn(train):
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(algorithm="brute", n_jobs=-1).fit(train)
    return lambda queries, k: index.kneighbors(queries, k, return_distance=False)


def main():
    import h5py

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=("torch", "jax", "keops", "faiss", "sklearn"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--n-neighbors", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    arguments = parser.parse_args()

    with h5py.File(arguments.data) as file:
        train, test = file["train"][:], file["test"][:]
    ask = globals()[arguments.library](train)
    ask(test, arguments.n_neighbors)
    seconds = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        ask(test, arguments.n_neighbors)
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
