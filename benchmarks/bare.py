"""Bare loops, one per library, written by hand without knnbench: what bare_loop.py compares recorded medians with.

Runs in the library's environment. Prints the seconds of each repeat as JSON; the first call is apart.
"""

import argparse
import json
import time

import h5py


def torch(train, test, k):
    import torch

    torch.set_grad_enabled(False)
    train = torch.from_numpy(train)
    train_sq = (train**2).sum(1)

    def search():
        x = torch.from_numpy(test)
        distances = (x**2).sum(1, keepdim=True) + train_sq - 2 * (x @ train.T)
        return distances.topk(k, dim=1, largest=False).indices.numpy()

    return search


def jax(train, test, k):
    import jax
    import jax.numpy as jnp
    import numpy as np

    train = jax.device_put(train)
    train_sq = (train**2).sum(1)

    @jax.jit
    def nearest(x, train, train_sq):
        dot = jnp.matmul(x, train.T, precision="highest")
        return jax.lax.top_k(-((x**2).sum(1, keepdims=True) + train_sq - 2 * dot), k)[1]

    return lambda: np.asarray(nearest(jax.device_put(test), train, train_sq))


def keops(train, test, k):
    import torch
    from pykeops.torch import Vi, Vj

    d = train.shape[1]
    nearest = ((Vi(0, d) - Vj(1, d)) ** 2).sum(-1)
    train = torch.from_numpy(train)
    return lambda: nearest.argKmin(k, dim=1)(torch.from_numpy(test), train).numpy()


def faiss(train, test, k):
    import faiss

    index = faiss.IndexFlatL2(train.shape[1])
    index.add(train)
    return lambda: index.search(test, k)[1]


def sklearn(train, test, k):
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(algorithm="brute", n_jobs=-1).fit(train)
    return lambda: index.kneighbors(test, k, return_distance=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=("torch", "jax", "keops", "faiss", "sklearn"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--n-neighbors", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    arguments = parser.parse_args()

    with h5py.File(arguments.data) as file:
        train, test = file["train"][:], file["test"][:]
    search = globals()[arguments.library](train, test, arguments.n_neighbors)
    search()
    seconds = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        search()
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
