"""Answers and truth in, a metric as a function of row weights out; `quality` finds them by name."""
