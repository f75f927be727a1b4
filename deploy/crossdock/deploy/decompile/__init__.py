"""`crossdock decompile`: the ranks of a job run with dumps, compared, and explained."""
