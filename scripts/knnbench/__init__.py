"""Measure K-nearest-neighbour search: the library behind the scripts. No file in it knows Snakemake."""
