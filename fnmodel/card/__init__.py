"""What a project has stored of a release in, its model card out: one page, and JSON."""
