"""Snakemake in a process that begins with the modules of others imported: tests call it some hundred times."""

import os
import sys

# Ours are not among them: tests change them.
PRELOADED = ["snakemake.cli", "snakemake.api", "h5py", "jsonschema", "numpy", "yaml"]


def snakemake(arguments, folder, variables, output):
    """Be `snakemake` with these arguments, in a folder, with these variables; what it says goes to the file `output`."""
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    with open(output, "ab", buffering=0) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.argv = ["snakemake", *arguments]
    from snakemake.cli import main

    main(arguments)
