"""Values in, pages out: what reports, trends, digests and model cards have in common.

A page is one file. It asks nobody, runs nothing but a search of its own, reads in light and dark,
on paper, on a phone, and without a picture.
"""
