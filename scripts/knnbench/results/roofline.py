"""The least that a search must do, and how long that takes at a machine's ceilings."""

# Bytes of a number of each precision; TensorFloat-32 is read as float32.
BYTES = {"float64": 8, "float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2, "int8": 1}


def least_work(n, q, d, k, precision="float32"):
    """The least that a search which looks at every pair must do.

    Two operations per pair and coordinate (multiply and add in an inner product, subtract and add in a Manhattan distance);
    every point and query read once from memory, and every id written once, as 4 bytes.

    Returns
    -------
    operations, bytes : int
    """
    return 2 * n * q * d, BYTES[precision] * d * (n + q) + 4 * q * k


def least_time(operations, moved, ceiling, precision="float32"):
    """Seconds that `least_work` takes at a machine's measured ceilings: the roofline (Williams et al., CACM 52(4), 2009).

    None if it was not measured how fast the machine multiplies in that precision.
    """
    rates = {"float32": ceiling["operations_per_s"]} | ceiling.get("operations_per_s_in", {})
    return max(operations / rates[precision], moved / ceiling["bytes_per_s"]) if precision in rates else None
