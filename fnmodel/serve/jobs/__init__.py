"""Requests too large for a request: a job, an upload, a start; later its status and its results."""
