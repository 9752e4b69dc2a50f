"""Measure K-nearest-neighbour search: the library behind the scripts. No file in it knows Snakemake."""

import sys

# A title may have letters that a terminal or a log of the user's locale lacks: they are printed as \u2265, and nothing
# ends for them. Something else may stand in place of sys.stdout, as in a notebook.
if hasattr(sys.stdout, "reconfigure"):
    sys.stdout.reconfigure(errors="backslashreplace")
