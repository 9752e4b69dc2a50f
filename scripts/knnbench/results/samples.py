"""Tables of samples: what each timed call asked, and what counts."""

from knnbench.results.calls import ALIKE
from knnbench.results.machines import CELL


def with_queries(samples, timings):
    """Samples with the number of queries that each call asked, and whether its round counts.

    Of results older than these columns a call asked all queries or a batch, and those rounds count that asked about as many
    queries as the one that asked most (calls.same_way, as far as a table tells).
    """
    every = samples["dataset"].map(timings.groupby("dataset")["queries"].first())
    asked = samples["batch"].where(samples["batch"].notna(), every)
    given = samples.get("queries", asked)
    samples = samples.assign(queries=given.where(given.notna(), asked))
    if "counted" in samples:
        return samples.assign(counted=samples["counted"].astype(str) == "True")
    number, place = samples["queries"].astype(float), [name for name in (*CELL, "machine") if name in samples]
    most = number.where(samples["batch"].isna()).groupby([samples[name] for name in place], dropna=False).transform("max")
    return samples.assign(counted=samples["batch"].notna() | (ALIKE * number >= most))


def passes(samples, timings):
    """The samples of passes that count, in seconds for all queries: those of a subset are scaled.

    Parameters
    ----------
    samples : DataFrame, from `with_queries`
    timings : DataFrame, rows of the same datasets
    """
    some = samples[samples["batch"].isna() & samples["counted"]]
    every = some["dataset"].map(timings.groupby("dataset")["queries"].first()).astype(float)
    return some.assign(seconds=some["seconds"].astype(float) * (every / some["queries"].astype(float)))
