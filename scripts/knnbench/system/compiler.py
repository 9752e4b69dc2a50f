"""What compiles C++ here, for backends that write some."""

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

COMPILER = shlex.split(os.environ.get("CXX", "g++"))  # may have arguments, such as ccache g++


def missing():
    """Say what a module of C++ for this Python needs and is not here; None if it can be compiled."""
    if not COMPILER or not shutil.which(COMPILER[0]):
        return f"needs a C++ compiler: install g++, or set CXX, which is {os.environ.get('CXX', 'not set')!r}"
    for name in ("as", "ld"):
        # Compilers look beside themselves before they look where programs are.
        asked = subprocess.run([*COMPILER, f"-print-prog-name={name}"], stdout=subprocess.PIPE, text=True)
        if not shutil.which(asked.stdout.strip()):
            return f"needs binutils: {shlex.join(COMPILER)} finds no {name}"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "needs Python.h: install the headers of this Python, such as python3-dev"
    return None


def refused():
    """Say that the compiler does not take CXXFLAGS, which a shell reads when KeOps compiles; None if it does."""
    flags = os.environ.get("CXXFLAGS", "")
    command = f"{shlex.join(COMPILER)} {flags} -x c++ -E {os.devnull}"
    asked = subprocess.run(command, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    words = asked.stderr.strip().partition("\n")[0]
    return f"needs other CXXFLAGS: the compiler does not take {flags!r}: {words}" if asked.returncode else None
