"""What has to be done once in a cluster, by the server that holds the Lease kube-system/rke2-controllers.

It promotes and removes etcd's members, says on each node whether its member votes, applies the roles that
every cluster has, and forgets the passwords of nodes that are gone. Every server, with the lease or without,
labels its own node, sees to its own node's password, and to the cluster's bootstrap data in etcd.
"""
