"""What several processes share and must be up at once: the standard library (its fast part) alone.

programs stand on it, and the packages that ask the same things of containerd, etcd, pods' logs or systemd.
"""
