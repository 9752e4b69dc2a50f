"""What an adapter costs: its query over the call that the library's documentation shows, on one index. Prints Markdown.

Run from the project's root, when there are environments (shared.py): python benchmarks/adapters.py [BACKEND ...]
A process for each backend and set of points lets the two take turns, with one query, ten and many, euclidean, from arrays of
the host to ids there. Where a library has an index, both ask the one that the adapter built; else the call is a brute force
by hand.
"""

import argparse
import json
import statistics
import sys
import time

import bare
import numpy as np
from shared import entries, fitted, made_by, measured  # which puts knnbench on the path

K, D, SETS, SIZES = 10, 10, (1_000, 100_000), (1, 10, 10_000)
SAMPLE_S = 0.01  # at least: shorter calls are repeated within a sample
MOST, FEWEST, BUDGET_S = 21, 3, 15  # rounds of a size, and the seconds after which there are no more; one of a slower call


def by_hand(entry, backend, train):
    """The call that the documentation of a library shows: a function (queries, k) -> ids."""
    module, threads = entry["module"], backend.threads
    if module in ("torch", "torch_compile"):
        return bare.torch(train)
    if module in ("jax", "keops"):
        return getattr(bare, module)(train)
    if module == "faiss_knn":
        import faiss

        return lambda queries, k: faiss.knn(queries, train, k)[1]
    if module == "usearch":
        from usearch.index import search

        points, as_points, dtype = backend.train, backend.to_query_device, backend.precision
        return lambda queries, k: search(points, as_points(queries), k, "l2sq", exact=True, threads=threads, dtype=dtype).keys
    index = next(getattr(backend, name) for name in ("index", "neighbours", "tree", "searcher") if hasattr(backend, name))
    search = getattr(backend, "search", None)
    return {
        "annoy": lambda queries, k: [index.get_nns_by_vector(query, k, backend.search_k) for query in queries.tolist()],
        "ckdtree": lambda queries, k: index.query(queries, k, workers=-1)[1],
        "faiss": lambda queries, k: index.search(queries, k)[1],
        "hnswlib": lambda queries, k: index.knn_query(queries, k)[0],
        "ngt": lambda queries, k: [index.search(query, k, with_distance=False) for query in queries],
        "nmslib": lambda queries, k: [ids for ids, _ in index.knnQueryBatch(queries, k, threads)],
        "pykdtree": lambda queries, k: index.query(queries, k=k)[1],
        "pynear": lambda queries, k: index.searchKNN_arrays(queries, k)[0],
        "pynndescent": lambda queries, k: index.query(queries, k, **search)[0],
        "rabitqlib": lambda queries, k: index.search(queries, k, num_threads=threads, **search)[0],
        "scann": lambda queries, k: index.search_batched_parallel(queries, k, backend.candidates, backend.leaves)[0],
        "sklearn": lambda queries, k: index.kneighbors(queries, k, return_distance=False),
        "sklearnex": lambda queries, k: index.kneighbors(queries, k, return_distance=False),
        "svs": lambda queries, k: index.search(queries, k)[0],
        "usearch_hnsw": lambda queries, k: index.search(queries, k).keys,
        "voyager": lambda queries, k: index.query(queries, k)[0],
    }[module]


def sample(work, loops):
    start = time.perf_counter()
    for _ in range(loops):
        work()
    return (time.perf_counter() - start) / loops


def compare(entry, n):
    """An adapter and the call by hand, by the number of queries.

    Returns
    -------
    found : dict of dict
        Median `seconds` of the adapter, `ratios` of its time to the other's, and the share of ids that are `same`.
    """
    generator = np.random.default_rng(n)
    train, queries = (generator.standard_normal((number, D), np.float32) for number in (n, SIZES[-1]))
    backend = fitted(entry, train, K)
    if isinstance(backend, str):
        return {"reason": backend}
    ask, found = by_hand(entry, backend, train), {}
    for size in SIZES:
        some = queries[:size]
        backend.compile(some, K)

        def adapter(some=some):
            return backend.to_host(backend.query(backend.to_query_device(some), K))

        def hand(some=some):
            return ask(some, K)

        start = time.perf_counter()
        theirs = hand()
        first = time.perf_counter() - start
        same = np.mean(np.sort(adapter(), 1) == np.sort(np.asarray(theirs).reshape(size, K), 1))
        once = first if first > BUDGET_S else sample(hand, 1)
        loops = max(1, round(SAMPLE_S / once))
        rounds = int(min(MOST, max(1 if once > BUDGET_S else FEWEST, BUDGET_S / (2 * loops * once))))
        pairs = []
        for number in range(rounds):
            order = (adapter, hand) if number % 2 else (hand, adapter)  # neither is always first
            taken = {work: sample(work, loops) for work in order}
            pairs.append((taken[adapter], taken[hand]))
        ratios = [ours / theirs for ours, theirs in pairs]
        found[size] = {"seconds": statistics.median(ours for ours, _ in pairs), "ratios": ratios, "same": float(same)}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backends", nargs="*", help="entries of config.yaml; all of them if none is named")
    backends = {
        name: entry
        for name, entry in entries(parser.parse_args().backends).items()
        # A graph answers no queries, and the page's batches are there to show what they cost.
        if entry["module"] != "pynndescent_graph" and entry.get("parameters", {}).get("batch") != "seed"
    }
    print(f"An adapter's time over that of the call by hand, K = {K}, d = {D}: {made_by('adapters.py')}")
    print(f"Medians of {FEWEST} to {MOST} rounds in one process, one if a call takes over {BUDGET_S} s; their range, and the")
    print("adapter's own time.\n")
    print(f"| backend | points | {' | '.join(f'{size:,} queries' for size in SIZES)} | same ids |")
    print("|---|---|---|---|---|---|", flush=True)
    for name, n, found in measured(backends, __file__, SETS, 6):
        cells = [
            f"{statistics.median(each['ratios']):.3f} ({min(each['ratios']):.2f} to {max(each['ratios']):.2f}) of"
            f" {each['seconds'] * 1e3:.3g} ms"
            for each in found.values()
        ]
        print(f"| {name} | {n:,} | {' | '.join(cells)} | {min(each['same'] for each in found.values()):.1%} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(compare(*json.loads(sys.argv[2]))))
    else:
        main()
