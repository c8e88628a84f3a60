"""Requests as they were answered go in; OpenTelemetry's spans go out to a collector, by OTLP.

A request only notes moments. What makes spans of them, OpenTelemetry's SDK and exporter, is
imported and called after the response; it lies in a layer that only images with tracing have.
"""
