"""FAISS: any index that its factory names, on the CPU or the GPU."""

import ctypes
import math
import re

import faiss

from knnbench.backends.base import Backend as Base

METRICS = {
    "euclidean": faiss.METRIC_L2,
    **dict.fromkeys(("angular", "inner-product"), faiss.METRIC_INNER_PRODUCT),
    "manhattan": faiss.METRIC_L1,
    "chebyshev": faiss.METRIC_Linf,
    "minkowski": faiss.METRIC_Lp,
}
PRODUCTS = (faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT)  # what is computed by matrix products
# The seeds that FAISS has by itself: of an IVF's k-means (Clustering.h), and of an HNSW's levels (HNSW.h).
KMEANS_SEED, LEVELS_SEED = 1234, 12345
CUBLAS_TF32_TENSOR_OP_MATH = 3  # cublas_api.h, cublasMath_t
# How the CPU's flat index stores other numbers than float32, by the index factory; the GPU's has an option for float16 only.
STORED = {"float16": "SQfp16", "bfloat16": "SQbf16", "int8": "SQ8"}
PRECISIONS = {"cpu": {"float32", *STORED}, "gpu": {"float32", "tf32", "float16"}}
ON_GPU = hasattr(faiss, "StandardGpuResources")
if ON_GPU:  # the GPU build is installed with PyTorch, whose tensors it takes where they are
    import faiss.contrib.torch_utils
    import torch


class Backend(Base):
    """FAISS.

    Parameters
    ----------
    index : str, for faiss.index_factory, such as "Flat", "HNSW36,Flat" or "IVF400,Flat"
    fit : dict, index parameters set before training, such as {efConstruction: 500}
    search : dict, index parameters set before searching, such as {nprobe: 40} or {efSearch: 10}
    precision : {"float32", "tf32", "float16", "bfloat16", "int8"}
        What a flat index stores; int8 is scaled to the range of each coordinate. TensorFloat-32 is how a GPU multiplies
        float32, which FAISS has no option for: by the mode of its cuBLAS handle.
    """

    packages = ("faiss-cpu", "faiss-gpu", "torch", "numpy")

    def __init__(self, metric, device, threads, index, fit=None, search=None, precision="float32"):
        super().__init__(metric, device, threads)
        faiss.omp_set_num_threads(threads)
        self.factory = index
        self.fit_parameters = fit or {}
        self.search_parameters = search or {}
        self.precision = precision
        self.lifts = precision == "float32" and "HNSW" not in index  # lifted points have neighbours that a graph does not find
        if device == "gpu":
            if not ON_GPU:
                raise ImportError("this FAISS was built without GPU support")
            self.resources = faiss.StandardGpuResources()
            torch.zeros(1, device="cuda")
            faiss.GpuIndexFlatL2(self.resources, 1)  # has it take its temporary memory and open cuBLAS
            if precision == "tf32":
                self.allow_tf32()

    def allow_tf32(self):
        shared = self.resources.getResources()
        handle = ctypes.c_void_p.from_address(int(shared.getBlasHandleCurrentDevice()))
        if error := ctypes.CDLL("libcublas.so.12").cublasSetMathMode(handle, CUBLAS_TF32_TENSOR_OP_MATH):
            raise RuntimeError(f"cublasSetMathMode: error {error}")

    def unsupported(self, k, n, d):
        lists = re.search(r"IVF(\d+)", self.factory)
        if self.metric.like not in METRICS:
            return f"FAISS has no {self.metric.name} metric"
        if lists and int(lists[1]) > n:
            return f"{self.factory}: k-means needs at least {lists[1]} points, the dataset has {n}"
        multiplies = METRICS[self.metric.like] in PRODUCTS
        if self.device == "gpu" and lists and not multiplies:
            return "FAISS's GPU IVF knows euclidean and inner product only"
        if self.precision != "float32" and (self.factory != "Flat" or self.precision not in PRECISIONS[self.device]):
            return f"FAISS has no {self.factory} of {self.precision} on a {self.device.upper()}"
        if self.device == "cpu" and self.precision in STORED and not multiplies:
            return "FAISS's scalar quantizers know euclidean and inner product only"
        return None

    def threads_used(self):
        return faiss.omp_get_max_threads()

    def least_queries(self, queries):
        # Fewer numbers than that are compared query by query, without BLAS (faiss/utils/distances.cpp): at d = 100 that is
        # six times as slow. Of absolute differences and of what is not stored as float32 there is no product: they always are.
        by_blas = math.ceil(faiss.cvar.distance_compute_blas_threshold / self.d)
        blas = self.device == "cpu" and self.precision == "float32" and METRICS[self.metric.like] in PRODUCTS
        return by_blas if blas and by_blas <= queries else 1

    def seed(self, index):
        """Give an index that is not trained the seeds of this build."""
        if "HNSW" in self.factory:
            index.hnsw.rng = faiss.RandomGenerator(LEVELS_SEED + self.build)
        if "IVF" in self.factory:
            faiss.extract_index_ivf(index).cp.seed = KMEANS_SEED + self.build

    def to_gpu(self, index):
        options = faiss.GpuClonerOptions()
        options.useFloat16 = self.precision == "float16"
        return faiss.index_cpu_to_gpu(self.resources, 0, index, options)

    def set(self, index, parameters):
        space = faiss.GpuParameterSpace() if self.device == "gpu" else faiss.ParameterSpace()
        for name, value in parameters.items():
            space.set_index_parameter(index, name, value)

    def fit(self, train):
        metric = METRICS[self.metric.like]
        if "HNSW" in self.factory and self.metric.normalised:
            metric = faiss.METRIC_L2  # the same ranking on unit vectors, and a proper metric for the graph, as the page has it
        factory = STORED.get(self.precision, self.factory) if self.device == "cpu" else self.factory
        index = faiss.index_factory(train.shape[1], factory, metric)
        index.metric_arg = self.metric.parameters.get("p", 0)
        self.seed(index)
        if self.device == "gpu":
            index = self.to_gpu(index)
        self.set(index, self.fit_parameters)
        points = self.to_query_device(train)
        self.synchronize()
        yield "transfer"
        index.train(points)
        yield "train"
        index.add(points)
        self.set(index, self.search_parameters)
        self.index, self.d = index, index.d
        yield "add"

    def save(self, path):
        faiss.write_index(faiss.index_gpu_to_cpu(self.index) if self.device == "gpu" else self.index, str(path))

    def load(self, path):
        index = faiss.read_index(str(path))
        if self.device == "gpu":
            index = self.to_gpu(index)
        self.set(index, self.search_parameters)
        self.index, self.d = index, index.d

    def to_query_device(self, queries):
        return torch.from_numpy(queries).cuda() if self.device == "gpu" else queries

    def query(self, queries, k):
        return self.index.search(queries, k)[1]

    def synchronize(self):
        if self.device == "gpu":
            torch.cuda.synchronize()

    def to_host(self, ids):
        return ids.cpu().numpy() if self.device == "gpu" else ids
