"""The least that a search must do, and how long that takes at a machine's ceilings."""


def least_work(n, q, d, k):
    """The least that a search which looks at every pair must do.

    Two operations per pair and coordinate (multiply and add in an inner product, subtract and add in a Manhattan distance);
    every point and query read once from memory and every id written once, as 4 bytes.

    Returns
    -------
    operations, bytes : int
    """
    return 2 * n * q * d, 4 * (d * (n + q) + q * k)


def least_time(operations, moved, ceiling):
    """Seconds that `least_work` takes at a machine's measured ceilings: the roofline (Williams et al., CACM 52(4), 2009)."""
    return max(operations / ceiling["operations_per_s"], moved / ceiling["bytes_per_s"])
