"""What is each recipe worth against every attacker, beside the networks and controls it must beat?

`python -m benchmarks.frontier --help`. Results are kept by content in a work folder: the same line goes on where it was
interrupted, and computes nothing twice.
"""
