"""The embedded cloud: an emulator as control plane, our own Lambda data plane beside it."""
