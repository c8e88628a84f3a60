"""The embedded cloud: an existing emulator as control plane, our own Lambda data plane beside it.

    control.py      starts, finds and stops the one process of a home folder
    gateway.py      that process: the emulator's ASGI app, its state saved as it changes
    seam.py         the five functions of the emulator that are replaced, and why
    dataplane.py    invocations in, outcomes out: a pool of sandboxes a published version
    sandbox.py      one execution environment: a process that runs the image's own runtime client
    runtime_api.py  the Lambda Runtime API that this process talks to
    routing.py      which version a weighted alias sends one request to

Everything listens on 127.0.0.1 only, and ends with the process that `control` started.
"""
