"""etcd's snapshots: files of this node and objects in S3, what the cluster knows of them, restoring them.

Formats, names and orders are RKE2's, so that a snapshot of either can be restored by the other.
"""
