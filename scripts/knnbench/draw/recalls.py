"""What curves give at fixed recalls, as tables show it: in words, with the two ends of each speed by their name."""

from knnbench.results.curves import RECALLS, STANDS_AT, curves
from knnbench.results.findings import ends_of, interval_of, intervals_of, number
from knnbench.results.tables import ONE_ROUND, SPREAD


def speeds_at_recalls(points, k):
    """What every curve of a dataset gives at `RECALLS` at one K, the fastest at `STANDS_AT` first.

    Parameters
    ----------
    points : DataFrame, of Results.points: one dataset, one machine
    k : int

    Returns
    -------
    rows : list of (name, list of (speed, ends))
        In words; empty where the curve does not reach so far. Ends have no name, which is `called`; where a table has intervals
        and spreads of one round, the spreads have it themselves.
    called : str, how the ends are called; empty if there are none
    """
    found = curves(points[(points["n_neighbors"] == k) & (points["residency"] == "host")])
    called, rows = intervals_of(found), []

    def ends(row):
        return interval_of(row) if row["query_interval"] == ONE_ROUND and called != SPREAD else ends_of(row)

    for (label, device), curve in found.groupby(["label", "device"], sort=False):
        at = {row["recall"]: row for row in curve.to_dict("records")}
        words = [(number(at[each]["queries_per_s"]), ends(at[each])) if each in at else ("", "") for each in RECALLS]
        rows.append((at[STANDS_AT]["queries_per_s"] if STANDS_AT in at else 0.0, (f"{label} ({device.upper()})", words)))
    return [row for _, row in sorted(rows, key=lambda each: -each[0])], called
