"""What datasets, backends and speeds are called: powers in titles, words that tell them apart. Standard library only."""

import re

POWER = r"\b([A-Za-z0-9]+)\^(?:\{([A-Za-z0-9+-]+)\}|([A-Za-z0-9]))"  # such as R^D or S^{D-1}
RAISED = str.maketrans("0123456789+-DKNdkn", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᴰᴷᴺᵈᵏⁿ")


def speed_in_words(queries_per_s):
    """Queries per second: whole ones, and below a hundred three digits."""
    return f"{queries_per_s:,.0f}" if queries_per_s >= 100 else f"{queries_per_s:.3g}"


def plain(title):
    """A title with its powers, such as R^D or S^{D-1}, in Unicode's raised letters."""
    return re.sub(POWER, lambda power: power[1] + (power[2] or power[3]).translate(RAISED), title)


def tell_apart(pairs):
    """Words for names, such that no two names have the same ones, spaces and ways to write a power apart.

    Parameters
    ----------
    pairs : iterable of (name, words), as a label of a backend or a title of a dataset

    Returns
    -------
    apart : dict, (name, words) -> words; "Mine (one)" and "Mine (two)" where one and two both have "Mine"
    """
    pairs, owners, apart = list(pairs), {}, {}
    for name, words in pairs:
        owners.setdefault(" ".join(plain(words).split()), set()).add(name)
    for name, words in pairs:
        made = words
        while owners.get(" ".join(plain(made).split()), {name}) != {name}:
            made = f"{made} ({name})"
        apart[name, words] = made
    return apart


def mathematical(title):
    """A title with its powers as LaTeX and Matplotlib set mathematics."""
    return re.sub(POWER, lambda power: f"${power[1]}^{{{power[2] or power[3]}}}$", title)
