"""Answer neighbour queries with one environment's backends; the tests' end of it is conftest.Server.

Runs in a backend's environment, which has NumPy and h5py but no pytest. Usage: answer_server.py SOCKET_DESCRIPTOR
"""

import importlib
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from knnbench.measure.cell import PHASES
from knnbench.measure.lifted import Lifted
from knnbench.problem.metrics import METRICS
from knnbench.problem.narrow import not_held


def answer(
    module,
    metric,
    device,
    parameters,
    train,
    queries=None,
    k=1,
    saves=False,
    build=None,
    lifts=False,
    searches=None,
    tell=False,
):
    """Do what a cell does, without the clock: ids of shape (q, k), or the words of why not; of a `build`, its saved bytes.

    With `searches`, a list of ids, one for each that is set; with `tell`, of (ids, what the backend says it searched with).
    """
    Backend = importlib.import_module(f"knnbench.backends.{module}").Backend

    def opened():
        backend = Backend(METRICS[metric], device, 1, **parameters)
        reason = backend.unsupported(k, *train.shape)
        if reason and lifts and backend.lifts:
            backend, reason = Lifted(Backend(METRICS["inner-product"], device, 1, **parameters), METRICS[metric]), None
            backend.look_at(train)
        return backend, reason

    train.flags.writeable = False  # as that of a mapped file
    backend, reason = opened()
    if reason := reason or not_held(backend, train, train if queries is None else queries):
        return reason
    backend.build = build or 0
    phases = []
    for phase in backend.fit(train):
        backend.synchronize()
        phases.append(phase)
    assert phases == PHASES
    if saves:  # as the cells of another K find it
        with tempfile.TemporaryDirectory() as folder:
            backend.save(Path(folder, "index"))
            if build is not None:
                return b"".join(file.read_bytes() for file in sorted(Path(folder).rglob("*")) if file.is_file())
            backend, _ = opened()
            backend.load(Path(folder, "index"))

    def asked(search):
        if search:
            backend.set_search(**search)
        return backend.to_host(backend.query(backend.to_query_device(queries), k))

    if tell:
        return [(asked(search), backend.searched(search, k)) for search in searches]
    return [asked(search) for search in searches] if searches else asked(None)


def main():
    connection = Connection(int(sys.argv[1]))
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        try:
            connection.send(answer(**question))
        except Exception as error:
            connection.send(error if type(error).__module__ == "builtins" else RuntimeError(repr(error)))


if __name__ == "__main__":
    main()
