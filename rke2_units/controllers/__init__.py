"""rke2-controllers.service: the work that one server does for the cluster, and each server for its own node.

The server that holds the Lease kube-system/rke2-controllers promotes and removes etcd members, sets the
condition EtcdIsVoter of nodes, applies the roles that every cluster has, deletes the passwords of deleted
nodes, and looks after the objects of snapshots. Every server labels its own node, stores the password of
that node, and stores or checks the cluster's bootstrap data in etcd.
"""
