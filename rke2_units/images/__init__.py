"""Images in and out: archives, registries, layers, containerd's store.

The standard library (its fast part) alone.
"""
