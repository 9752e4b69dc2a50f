"""KeOps whose formulas are compiled for this CPU: with `-march=native`, by the variable from which KeOps takes flags."""

import os

NATIVE = "-march=native"
os.environ["CXXFLAGS"] = f"{os.environ.get('CXXFLAGS', '')} {NATIVE}".strip()

from knnbench.backends import keops

if NATIVE not in keops.pykeops.config.pykeops_base.get_cpp_flags():  # which it has read once, when it was imported
    raise ImportError("KeOps was imported before with other flags; this backend wants a process of its own")

Backend = keops.Backend
