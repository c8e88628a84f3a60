"""A model directory, code and locked wheels go in; an OCI image comes out, without a daemon."""
