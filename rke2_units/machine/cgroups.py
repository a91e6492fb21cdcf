"""The control groups that killed containers leave behind."""

import glob
import os
from contextlib import suppress

# cgroup v2, and each hierarchy of v1; by the systemd driver and by cgroupfs.
_PODS = ("/sys/fs/cgroup/kubepods*", "/sys/fs/cgroup/*/kubepods*")


def remove_empty() -> int:
    """Removes the pods' groups in which no process lives; returns how many.

    A container that was killed with its shim is not cleaned up by runc, and systemd does so only in the
    hierarchies of cgroup v1 that it manages itself. The kubelet's statistics wait 1.5 s at each start for
    every container whose group they find and which containerd does not know.
    """
    removed = 0
    for top in (place for pattern in _PODS for place in glob.glob(pattern)):
        for folder, _, _ in os.walk(top, topdown=False):
            # The kernel refuses it for a group with processes in it: those of another Kubernetes.
            with suppress(OSError):
                os.rmdir(folder)
                removed += 1
    return removed
