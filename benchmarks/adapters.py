"""What an adapter costs: its time over that of the search which the library's documentation shows. Prints Markdown.

Run from the project's root, when there are environments (shared.py): python benchmarks/adapters.py [BACKEND ...]
A process for each backend and number of points has two objects: the adapter's, with what the entry of config.yaml says, and one
of by_hand.py, which has the library's defaults but for what the entry names. They take turns, with one query, ten and many,
euclidean, from arrays of the host to ids there. Where there are several searches by hand, the fastest of them counts.
"""

import argparse
import json
import statistics
import sys
import time

import by_hand
import numpy as np
from shared import entries, fitted, made_by, measured, middle  # which puts knnbench on the path

from knnbench.system import machine

K, SETS, SIZES = 10, (1_000, 30_000), (1, 10, 1_000)
D, WIDE = 10, {"rabitqlib": 64}  # dimensions; of what takes no fewer
MOST, FEWEST, BUDGET_S = 1000, 5, 2  # rounds of a size, and the seconds after which there are no more
HOPELESS = 3  # times the fastest: such a search by hand has no further rounds


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def asked_by_hand(entry, train):
    """The searches of by_hand.py for an entry; None if there are none for its module."""
    module = entry["module"]
    make = by_hand.SAME.get(module) or getattr(by_hand, module, None)
    build = entry.get("parameters", {}) | middle(entry.get("build", {}))
    return make and make(train, build, middle(entry.get("search", {})), machine.available_cpus())


def take_turns(works):
    """Seconds of each of some works, a list for each: one call in each round, which begins with another one every time."""
    taken, spent, rounds = {work: [] for work in works}, 0, 0
    while rounds < FEWEST or (rounds < MOST and spent < BUDGET_S):
        for work in works:
            taken[work].append(seconds(work))
            spent += taken[work][-1]
        works, rounds = [*works[1:], works[0]], rounds + 1
    return taken


def compare(entry, n):
    """An adapter and the fastest search by hand, by the number of queries.

    Returns
    -------
    found : dict of dict
        Least `seconds` of the adapter, its `ratio` to the other's least ones, the `median` of the ratios round by round, and
        the share of ids that are the `same`.
    """
    generator = np.random.default_rng(n)
    d = WIDE.get(entry["module"], D)
    train, queries = (generator.standard_normal((number, d), np.float32) for number in (n, SIZES[-1]))
    backend = fitted(entry, train, K)
    if isinstance(backend, str):
        return {"reason": backend}
    asks, found = asked_by_hand(entry, train), {}
    if asks is None:
        return {"reason": "no search by hand was written for it"}
    for size in SIZES:
        some = queries[:size]
        backend.compile(some, K)

        def adapter(some=some):
            return backend.to_host(backend.query(backend.to_query_device(some), K))

        hands = [lambda ask=ask, some=some: ask(some, K) for ask in asks]
        ids = [np.sort(np.asarray(work()).reshape(size, K), 1) for work in (adapter, hands[0])]
        once = {hand: min(seconds(hand), seconds(hand), seconds(hand)) for hand in hands}
        taken = take_turns([adapter, *(hand for hand in hands if once[hand] < HOPELESS * min(once.values()))])
        ours = taken.pop(adapter)
        theirs = min(taken.values(), key=min)
        found[size] = {
            "seconds": min(ours),
            "ratio": min(ours) / min(theirs),
            "median": statistics.median(one / other for one, other in zip(ours, theirs, strict=True)),
            "same": float((ids[0] == ids[1]).mean()),
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backends", nargs="*", help="entries of config.yaml; all of them if none is named")
    backends = {  # a graph answers no queries, and the page's functions are searches by hand
        name: entry
        for name, entry in entries(parser.parse_args().backends).items()
        if entry["module"] not in ("pynndescent_graph", "torch_page", "jax_page")
    }
    print(f"An adapter's time over that of the search by hand, K = {K}, d = {D}: {made_by('adapters.py')}")
    print(f"The least times of {FEWEST} to {MOST:,} rounds, which others on the machine disturb the least; in parentheses the")
    print("median of the ratios round by round; and the adapter's own least time.\n")
    print(f"| backend | points | {' | '.join(f'{size:,} queries' for size in SIZES)} | same ids |")
    print("|---|---|---|---|---|---|", flush=True)
    for name, n, found in measured(backends, __file__, SETS, 6):
        cells = [f"{each['ratio']:.2f} ({each['median']:.2f}) of {each['seconds'] * 1e3:.3g} ms" for each in found.values()]
        print(f"| {name} | {n:,} | {' | '.join(cells)} | {min(each['same'] for each in found.values()):.1%} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(compare(*json.loads(sys.argv[2]))))
    else:
        main()
