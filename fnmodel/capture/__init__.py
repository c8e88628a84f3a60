"""A request and its answer go in; redacted lines, one a row, come out, to be kept in a bucket."""
