"""A Kubernetes distribution in the manner of RKE2, with systemd as its supervisor."""

__version__ = "0.2.0"
