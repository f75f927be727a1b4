"""Benchmarks: one module for each question, beside its baselines, in one interleaved run."""
