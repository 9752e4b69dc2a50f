"""Test the harness on this machine with backends that lie in known ways and pairs that do not differ.

Prints a table; the exit status is 1 if the harness missed something. Takes some minutes and wants a quiet machine.
"""

import argparse

from knnbench.workflow.selftest import selftest


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40, help="pairs of the A/A test; 0 leaves it out")
    arguments = parser.parse_args()
    selftest(arguments.pairs)


if __name__ == "__main__":
    main()
