"""How fast the machine is at this moment: fixed work is timed right before and right after a cell. Standard library only.

Processes beside a cell are in the kernel's accounts, and what slows a whole virtual machine down often is not: other guests
have the other thread of a core, or its clock falls. Both show in how long fixed work takes.
"""

import hashlib
import os
import statistics
import threading
import time

# Of a hash: some 30 ms in one call, which leaves the interpreter's lock to other threads. The kernel's slices of time are
# shorter, so that a process which takes half of a CPU doubles it.
ROUNDS = 100_000


def hash_once(elapsed):
    """Append the nanoseconds that a hash took."""
    start = time.perf_counter_ns()
    hashlib.pbkdf2_hmac("sha256", b"knnbench", b"pace", ROUNDS)
    elapsed.append(time.perf_counter_ns() - start)


def pace():
    """Time fixed work on every CPU that this process may use, all at once.

    Arithmetic alone: copies of memory, as large as can be made in so short a time, took as long beside a process that streams
    through memory as without it, since they stay in a cache, and told nothing of the times of cells.

    Returns
    -------
    pace_ns : int, nanoseconds of a CPU, the mean of all
    """
    elapsed = []
    threads = [threading.Thread(target=hash_once, args=(elapsed,)) for _ in os.sched_getaffinity(0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return round(statistics.mean(elapsed))
