"""vLLM's own ``bench serve``, by turns: ``bench_serve.py ARGUMENTS -- ARGUMENTS ...``.

Its command is not there in a build for CPUs, and takes a while to start.
"""

import argparse
import itertools
import sys

from vllm.benchmarks.serve import add_cli_args, main

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    add_cli_args(parser)
    for between, words in itertools.groupby(sys.argv[1:], lambda word: word == "--"):
        if not between:
            main(parser.parse_args(list(words)))
