"""FAISS: any index that its factory names, on the CPU or the GPU."""

import ctypes
import math
import re

import faiss
import numpy as np

from knnbench.backends.base import Backend as Base

METRICS = {
    "euclidean": faiss.METRIC_L2,
    **dict.fromkeys(("angular", "inner-product"), faiss.METRIC_INNER_PRODUCT),
    "manhattan": faiss.METRIC_L1,
    "chebyshev": faiss.METRIC_Linf,
    "minkowski": faiss.METRIC_Lp,
}
PRODUCTS = (faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT)  # what is computed by matrix products
# The seeds that FAISS has by itself: of an IVF's k-means (Clustering.h), and of an HNSW's levels (HNSW.h); an NSG takes none.
KMEANS_SEED, LEVELS_SEED = 1234, 12345
LEAST_OF_A_LIST = 39  # points of its training, by its own minimum (Clustering.h, min_points_per_centroid)
# An NSG is made from so many neighbours of each point (IndexNSG.h, GK), and those of fewer points it refuses.
NSG_NEIGHBOURS = 64
CUBLAS_TF32_TENSOR_OP_MATH = 3  # cublas_api.h, cublasMath_t
# How the CPU's flat index stores other numbers than float32, by the index factory; the GPU's has an option for float16 only.
STORED = {"float16": "SQfp16", "bfloat16": "SQbf16", "int8": "SQ8"}
PRECISIONS = {"cpu": {"float32", *STORED}, "gpu": {"float32", "tf32", "float16"}}
CENTRES = 256  # that stand for those of an IVF before it has any
BLAS_FROM_NUMBERS = faiss.cvar.distance_compute_blas_threshold  # FAISS's own choice
ON_GPU = hasattr(faiss, "StandardGpuResources")
if ON_GPU:  # the GPU build is installed with PyTorch, whose tensors it takes where they are
    import faiss.contrib.torch_utils
    import torch


class Backend(Base):
    """FAISS.

    Parameters
    ----------
    index : str, for faiss.index_factory, such as "Flat", "HNSW36,Flat" or "IVF400,Flat"
        In it {d} is the dimension, and {M} the number of pairs of coordinates; the last one is filled up with 0 if d is odd.
        {lists} is the number of an IVF's lists by that of the points, as lists_per_sqrt says.
    lists_per_sqrt : int or float
        {lists} is so many times the square root of the number of points, rounded. FAISS's authors advise 4 to 16 for up to
        10^6 points (its wiki, Guidelines to choose an index). They write powers of two in the names of large indexes, but no
        code of FAISS prefers those, and a rounding to them would make of a multiplier of 4 anything from 2.8 to 5.7.
    fit : dict, index parameters set before training, such as {efConstruction: 500}
    search : dict, index parameters set before searching, such as {nprobe: 40} or {efSearch: 10}
    precision : {"float32", "tf32", "float16", "bfloat16", "int8"}
        What a flat index stores; int8 is scaled to the range of each coordinate. TensorFloat-32 is how a GPU multiplies
        float32, which FAISS has no option for: by the mode of its cuBLAS handle.
    blas_from : int
        So many queries, or more, are searched by matrix products on a CPU; fewer one by one. FAISS's own choice is 128,000
        divided by the dimension, and was 20 in any dimension before version 1.14.3.
    **build : index parameters like those of fit, such as efConstruction
    """

    packages = ("faiss-cpu", "faiss-gpu", "torch", "numpy")

    def __init__(
        self,
        metric,
        device,
        threads,
        index,
        lists_per_sqrt=None,
        fit=None,
        search=None,
        precision="float32",
        blas_from=None,
        **build,
    ):
        super().__init__(metric, device, threads)
        faiss.omp_set_num_threads(threads)
        if ("{lists}" in index) != (lists_per_sqrt is not None):
            raise ValueError(f"{index}: lists_per_sqrt says what {{lists}} is; give both, or none of them")
        self.factory, self.lists_per_sqrt = index, lists_per_sqrt
        self.fit_parameters = (fit or {}) | build
        self.search_parameters = search or {}
        self.precision = precision
        self.blas_from = blas_from
        # An HNSW searches with fewer candidates than K if it is told to.
        self.at_least_k = "search_L" if "NSG" in index else None
        self.graph = bool(re.search("HNSW|NSG", index))
        self.codes = bool(re.search("PQ|SQ|RaBitQ", index))
        # Lifted points have neighbours that a graph does not find, and that codes do not tell apart.
        self.lifts = precision == "float32" and not self.graph and not self.codes
        codes = {STORED.get(precision), *re.split("[,_]", index)}
        self.rounds_to = next((name for name, code in STORED.items() if code in codes), None)
        # Not known before: points that are turned, and the range of what an IVF leaves of them. Bytes stay as they are.
        if re.search("PCA|OPQ|RR|L2norm|direct", index) or (self.rounds_to == "int8" and "IVF" in index):
            self.rounds_to = None
        self.rounds_queries = device == "gpu"
        if device == "gpu":
            self.alone = "FAISS's resources of a GPU, and what is searched with them, serve one thread at a time"
            if not ON_GPU:
                raise ImportError("this FAISS was built without GPU support")
            self.resources = faiss.StandardGpuResources()
            torch.zeros(1, device="cuda")
            faiss.GpuIndexFlatL2(self.resources, 1)  # has it take its temporary memory and open cuBLAS
            if precision == "tf32":
                self.allow_tf32()

    def ask_blas(self, question, argument):
        """Call a function of cuBLAS with FAISS's handle, of which SWIG gives a pointer to a copy.

        Raises
        ------
        RuntimeError
            cuBLAS refuses.
        """
        pointer = self.resources.getResources().getBlasHandleCurrentDevice()
        handle = ctypes.c_void_p.from_address(int(pointer))
        if error := getattr(ctypes.CDLL("libcublas.so.12"), question)(handle, argument):
            raise RuntimeError(f"{question}: error {error}")

    def math_mode(self):
        """How cuBLAS multiplies for FAISS, a number of cublasMath_t."""
        mode = ctypes.c_int(-1)
        self.ask_blas("cublasGetMathMode", ctypes.byref(mode))
        return mode.value

    def allow_tf32(self):
        self.ask_blas("cublasSetMathMode", CUBLAS_TF32_TENSOR_OP_MATH)
        if (mode := self.math_mode()) != CUBLAS_TF32_TENSOR_OP_MATH:
            raise RuntimeError(f"FAISS does not multiply in TensorFloat-32: the mode of its cuBLAS handle is {mode}")

    def lists(self, n):
        """How many lists an inverted file of `n` points has by its string; None if there is none."""
        if self.lists_per_sqrt is not None:
            return max(1, round(self.lists_per_sqrt * math.sqrt(n)))
        named = re.search(r"IVF(\d+)", self.factory)
        return int(named[1]) if named else None

    def unsupported(self, k, n, d):
        lists = self.lists(n)
        parts = re.match(r"(?:IVF[^,]+,)?PQ(\d+)", self.factory)
        if self.metric.like not in METRICS:
            return f"FAISS has no {self.metric.name} metric"
        if lists and lists > n:
            return f"{self.factory}: k-means needs at least {lists} points, the dataset has {n}"
        if self.lists_per_sqrt is not None and n < LEAST_OF_A_LIST * lists:
            return (
                f"{self.factory}: {lists:,} lists, {self.lists_per_sqrt:g} times the square root of {n:,} points, would have"
                f" {n / lists:.3g} points each, and FAISS asks for {LEAST_OF_A_LIST} at least"
            )
        if parts and d % int(parts[1]):
            return f"{self.factory}: d = {d} cannot be divided into {parts[1]} equal parts"
        if self.blas_from and not (self.device == "cpu" and METRICS[self.metric.like] in PRODUCTS):
            return f"FAISS searches {self.metric.name} on a {self.device.upper()} in one way, whatever the number of queries"
        if "NSG" in self.factory and n <= NSG_NEIGHBOURS:
            return f"FAISS makes an NSG of {NSG_NEIGHBOURS + 1} points at least, the dataset has {n}"
        multiplies = METRICS[self.metric.like] in PRODUCTS
        if self.device == "gpu" and lists and not multiplies:
            return "FAISS's GPU IVF knows euclidean and inner product only"
        if self.precision != "float32" and (self.factory != "Flat" or self.precision not in PRECISIONS[self.device]):
            return f"FAISS has no {self.factory} of {self.precision} on a {self.device.upper()}"
        if (self.codes or (self.device == "cpu" and self.precision in STORED)) and not multiplies:
            return "FAISS's quantizers know euclidean and inner product only"  # some raise, some end the process
        return None

    def before_rounding(self, train):
        if "IVF" in self.factory:  # which rounds what is left of a point less the centre of its list, such as a point near it
            centres = train[:: max(1, len(train) // CENTRES)][:CENTRES]
            squares = (centres * centres).sum(axis=1)
            return lambda points: points - centres[(squares - 2 * points @ centres.T).argmin(axis=1)]
        if self.rounds_to == "int8":  # scaled to the range of each coordinate, which it finds in its training
            low, high = train.min(axis=0), train.max(axis=0)
            scale = 254 / np.where(high > low, high - low, 1)
            return lambda points: ((points - low) * scale - 127).astype(np.float32)
        return lambda points: points

    def threads_used(self):
        return faiss.omp_get_max_threads()

    def least_queries(self, queries):
        # Fewer numbers than that are compared query by query, without BLAS (faiss/utils/distances.cpp): at d = 100 that is
        # six times as slow. Of absolute differences and of what is not stored as float32 there is no product: they always are.
        # An IVF gives each thread a part of the queries, and each of these parts has to be so large to find its lists by BLAS.
        by_blas = math.ceil(faiss.cvar.distance_compute_blas_threshold / self.d) * (
            self.threads if "IVF" in self.factory else 1
        )
        blas = self.device == "cpu" and self.precision == "float32" and METRICS[self.metric.like] in PRODUCTS
        return by_blas if blas and not self.graph and by_blas <= queries else 1

    def seed(self, index):
        """Give an index that is not trained the seeds of this build.

        A GPU's index has parameters of k-means of its own, which a copy from the CPU's does not take over (GpuIndexIVF.h, cp;
        GpuIndexIVF.cu, copyFrom).
        """
        if "HNSW" in self.factory:
            index.hnsw.rng = faiss.RandomGenerator(LEVELS_SEED + self.build)
        if "IVF" in self.factory:
            inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
            ivf = inner if self.device == "gpu" else faiss.extract_index_ivf(index)  # which knows the CPU's only
            ivf.cp.seed = KMEANS_SEED + self.build

    def to_gpu(self, index):
        options = faiss.GpuClonerOptions()
        options.useFloat16 = self.precision == "float16"
        return faiss.index_cpu_to_gpu(self.resources, 0, index, options)

    def set_parameters(self, index, parameters):
        space = faiss.GpuParameterSpace() if self.device == "gpu" else faiss.ParameterSpace()
        for name, value in parameters.items():
            if name == "search_L":  # an NSG's, which the space does not have; of more than all points it would seek without end
                index.nsg.search_L = min(value, index.ntotal)
            else:
                space.set_index_parameter(index, name, value)

    def untrained(self, n, d):
        """The index of `n` points as the factory makes it, on the CPU."""
        metric = METRICS[self.metric.like]
        if (self.graph or self.codes) and self.metric.normalised:
            # The same ranking on unit vectors, and a proper metric for the graph, as the page has it; codes keep it better.
            metric = faiss.METRIC_L2
        pairs = math.ceil(d / 2)
        factory = ("Pad{}," if "{M}" in self.factory and d % 2 else "").format(2 * pairs) + self.factory.format(
            d=d, M=pairs, lists=self.lists(n)
        )
        index = faiss.index_factory(d, STORED.get(self.precision, factory) if self.device == "cpu" else factory, metric)
        for part in (index, getattr(index, "storage", None), getattr(index, "quantizer", None)):
            if part is not None:  # each measures distances of its own: to a graph's points, to an IVF's centres
                part.metric_arg = self.metric.parameters.get("p", 0)
        return index

    def fit(self, train):
        index = self.untrained(*train.shape)
        if self.device == "gpu":
            index = self.to_gpu(index)
        self.seed(index)
        self.set_parameters(index, self.fit_parameters)
        points = self.to_query_device(train)
        self.synchronize()
        yield "transfer"
        index.train(points)
        yield "train"
        index.add(points)
        self.take(index)
        yield "add"

    def save(self, path):
        faiss.write_index(faiss.index_gpu_to_cpu(self.index) if self.device == "gpu" else self.index, str(path))

    def load(self, path):
        index = faiss.read_index(str(path))
        if self.device == "gpu":
            index = self.to_gpu(index)
        self.take(index)

    def take(self, index):
        """Search this index from now on."""
        self.set_parameters(index, self.search_parameters)
        self.index, self.d = index, index.d
        # Compared with the numbers of all queries together. It is the process's, which may have had another backend before.
        faiss.cvar.distance_compute_blas_threshold = self.blas_from * self.d if self.blas_from else BLAS_FROM_NUMBERS

    def set_search(self, **search):
        self.set_parameters(self.index, search)

    def to_query_device(self, queries):
        return torch.from_numpy(queries).cuda() if self.device == "gpu" else queries

    def query(self, queries, k):
        return self.index.search(queries, k)[1]

    def synchronize(self):
        if self.device == "gpu":
            torch.cuda.synchronize()

    def to_host(self, ids):
        return ids.cpu().numpy() if self.device == "gpu" else ids
