"""HTTP requests go in; predictions come out. Runs inside the image."""
