"""Searches as the documentation of each library shows them, each on an object of its own: what adapters.py compares with.

A function for each module of knnbench.backends. It takes points, shape (n, d), what the entry of config.yaml names for the
index, what it names for the search, and the number of CPUs; all else is the library's default. It gives one or more functions
(queries, k) -> ids. A call that takes a number of threads is there with one thread and with all.
"""

import functools
import math
import tempfile
from pathlib import Path

import bare
import numpy as np


def by_threads(ask, threads):
    """A function (queries, k, number of threads) -> ids, with one thread and with all."""
    return [lambda queries, k, number=number: ask(queries, k, number) for number in dict.fromkeys((1, threads))]


def torch(train, build, search, threads):
    return [bare.torch(train)]


def jax(train, build, search, threads):
    return [bare.jax(train)]


def keops(train, build, search, threads):
    dtype = build.get("precision", "float32")
    ask = bare.keops(train.astype(dtype))
    return [lambda queries, k: ask(queries.astype(dtype, copy=False), k)]


def faiss(train, build, search, threads):
    import faiss

    n, d = train.shape
    stored = {"float16": "SQfp16", "bfloat16": "SQbf16", "int8": "SQ8"}.get(build.get("precision"), build["index"])
    lists = round(build.get("lists_per_sqrt", 1) * math.sqrt(n))
    index = faiss.index_factory(d, stored.format(d=d, M=d // 2, lists=lists))
    effort = {name: build[name] for name in ("efConstruction",) if name in build}
    for name, value in (effort | build.get("fit", {})).items():
        faiss.ParameterSpace().set_index_parameter(index, name, value)
    index.train(train)
    index.add(train)
    for name, value in (build.get("search", {}) | search).items():
        if name == "search_L":
            index.nsg.search_L = value
        else:
            faiss.ParameterSpace().set_index_parameter(index, name, value)
    return [lambda queries, k: index.search(queries, k)[1]]


def faiss_knn(train, build, search, threads):
    import faiss

    return [lambda queries, k: faiss.knn(queries, train, k)[1]]


def sklearn(train, build, search, threads):
    from sklearn.neighbors import NearestNeighbors

    fitted = [NearestNeighbors(n_jobs=jobs, **build).fit(train) for jobs in (None, -1)]
    return [functools.partial(each.kneighbors, return_distance=False) for each in fitted]


def sklearnex(train, build, search, threads):
    from sklearnex.neighbors import NearestNeighbors

    return [functools.partial(NearestNeighbors(**build).fit(train).kneighbors, return_distance=False)]


def ckdtree(train, build, search, threads):
    from scipy.spatial import cKDTree

    tree = cKDTree(train, **build)
    return by_threads(lambda queries, k, number: tree.query(queries, k=k, workers=number)[1], threads)


def pykdtree(train, build, search, threads):
    from pykdtree.kdtree import KDTree

    tree = KDTree(train, **build)
    return [lambda queries, k: tree.query(queries, k=k)[1]]


def pynear(train, build, search, threads):
    import pynear

    index = pynear.VPTreeL2Index()
    index.set(train)
    return [lambda queries, k: index.searchKNN(queries, k)[0]]


def hnswlib(train, build, search, threads):
    import hnswlib

    index = hnswlib.Index(space="l2", dim=train.shape[1])
    index.init_index(max_elements=len(train), M=build["M"], ef_construction=build["efConstruction"])
    index.add_items(train)
    index.set_ef(search["ef"])
    return by_threads(lambda queries, k, number: index.knn_query(queries, k=k, num_threads=number)[0], threads)


def nmslib(train, build, search, threads):
    import nmslib

    index = nmslib.init(method="hnsw", space="l2")
    index.addDataPointBatch(train)
    index.createIndex(build)
    index.setQueryTimeParams(search)

    def ask(queries, k, number):
        if len(queries) == 1:
            return [index.knnQuery(queries[0], k=k)[0]]
        return [ids for ids, _ in index.knnQueryBatch(queries, k=k, num_threads=number)]

    return by_threads(ask, threads)


def voyager(train, build, search, threads):
    from voyager import Index, Space

    index = Index(Space.Euclidean, num_dimensions=train.shape[1], **build)
    index.add_items(train)
    return by_threads(
        lambda queries, k, number: index.query(queries, k=k, num_threads=number, query_ef=search["ef"])[0], threads
    )


def usearch_hnsw(train, build, search, threads):
    from usearch.index import Index

    index = Index(ndim=train.shape[1], metric="l2sq", dtype="f32", **build, **search)
    index.add(np.arange(len(train)), train)
    return by_threads(lambda queries, k, number: index.search(queries, k, threads=number).keys, threads)


def usearch(train, build, search, threads):
    from usearch.index import MetricKind
    from usearch.index import search as exact

    precision, scale = build.get("precision", "float32"), 127 / np.abs(train).max()
    stored = {
        "bfloat16": lambda numbers: (numbers.view(np.uint32) + 0x8000 >> 16).astype(np.uint16),
        "int8": lambda numbers: np.clip(np.rint(numbers * scale), -127, 127).astype(np.int8),
    }.get(precision, lambda numbers: numbers.astype(precision, copy=False))
    points = stored(train)

    def ask(queries, k, number):
        return exact(points, stored(queries), k, MetricKind.L2sq, exact=True, threads=number, dtype=precision).keys

    return by_threads(ask, threads)


def annoy(train, build, search, threads):
    from annoy import AnnoyIndex

    index = AnnoyIndex(train.shape[1], "euclidean")
    for number, point in enumerate(train):
        index.add_item(number, point)
    index.build(build["n_trees"])
    return [lambda queries, k: [index.get_nns_by_vector(query, k, **search) for query in queries]]


def pynndescent(train, build, search, threads):
    from pynndescent import NNDescent

    asks = []
    for parallel in (False, True):
        index = NNDescent(train, parallel_batch_queries=parallel, **build)
        index.prepare()
        asks.append(lambda queries, k, index=index: index.query(queries, k=k, **search)[0])
    return asks


def scann(train, build, search, threads):
    import scann

    leaves = round(math.sqrt(len(train)))
    builder = scann.scann_ops_pybind.builder(train, 10, "squared_l2")
    builder = builder.tree(num_leaves=leaves, num_leaves_to_search=search["leaves_to_search"], training_sample_size=len(train))
    searcher = builder.score_ah(**build).reorder(100).build()

    def ask(queries, k, number):
        if len(queries) == 1:
            return searcher.search(queries[0], final_num_neighbors=k, **search)[0]
        batched = searcher.search_batched if number == 1 else searcher.search_batched_parallel
        return batched(queries, final_num_neighbors=k, **search)[0]

    return by_threads(ask, threads)


def svs(train, build, search, threads):
    import svs

    asks = []
    for number in dict.fromkeys((1, threads)):
        index = svs.Vamana.build(svs.VamanaBuildParameters(**build), train, svs.DistanceType.L2, num_threads=threads)
        index.num_threads, index.search_window_size = number, search["search_window_size"]
        asks.append(lambda queries, k, index=index: index.search(queries, k)[0])
    return asks


def ngt(train, build, search, threads):
    import ngtpy

    folder = tempfile.TemporaryDirectory(prefix="ngt-")
    created, optimized = (str(Path(folder.name, name)) for name in ("anng", "onng"))
    effort = build.pop("edge_size_for_creation")
    ngtpy.create(created, train.shape[1], edge_size_for_creation=effort, distance_type="L2")
    index = ngtpy.Index(created)
    index.batch_insert(train)
    index.save()
    index.close()
    ngtpy.Optimizer(log_disabled=True, **build).execute(created, optimized)
    index = ngtpy.Index(optimized)
    index.set(**search)
    return [lambda queries, k, folder=folder: [index.search(query, k, with_distance=False) for query in queries]]


def rabitqlib(train, build, search, threads):
    from rabitqlib import FinalAssignmentMode, IvfIndex, RaBitQKMeans, SymqgIndex

    n, d = train.shape
    if build["index"] == "symqg":
        index = SymqgIndex(d, 32, "l2")
        index.build(train, build["ef_construction"], num_threads=threads)
    else:
        clusters = round(4 * math.sqrt(n))
        kmeans = RaBitQKMeans(d, clusters, num_threads=threads, final_assignment=FinalAssignmentMode.Exact)
        kmeans.train(train)
        index = IvfIndex(dim=d, max_elements=n, num_clusters=clusters, nbits=build["nbits"], metric="l2")
        index.build(train, kmeans.centroids, kmeans.assignments, num_threads=threads)
    return by_threads(lambda queries, k, number: index.search(queries, k, num_threads=number, **search)[0], threads)


# Other ways to compute what one of these does.
SAME = {"torch_compile": torch, "torch_page": torch, "jax_page": jax, "keops_native": keops}
