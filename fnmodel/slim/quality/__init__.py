"""Metrics, fairness and gates with intervals, and the reference profile."""
