"""Run all mutations, or those whose names begin as given; exit status 1 unless all are caught."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from tests.mutations.mutation import all_mutations
from tests.mutations.runner import RedTests, run


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of names, such as crf or store/pointer; none for all")
    parser.add_argument("-j", "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="mutations side by side")
    arguments = parser.parse_args()
    chosen = [one for one in all_mutations() if not arguments.names or one.name.startswith(tuple(arguments.names))]
    if not chosen:
        sys.exit(f"no mutation begins with {', '.join(arguments.names)}")
    begun, bad = time.monotonic(), 0
    try:
        for mutation, outcome in run(Path(__file__).parents[2], chosen, arguments.jobs):
            bad += outcome.verdict != "caught"
            sys.stdout.write(f"{outcome.verdict:14} {outcome.seconds:5.1f} s  {mutation.name}\n")
            sys.stdout.writelines(f"{'':24}{line}\n" for line in outcome.green)
            sys.stdout.flush()
    except RedTests as error:
        sys.exit(f"{error}\nthese tests fail without any mutation; mend them first")
    sys.stdout.write(f"{len(chosen) - bad} of {len(chosen)} mutations caught, {time.monotonic() - begun:.0f} s\n")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
