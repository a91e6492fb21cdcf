"""The deploy controller: what the files of server/manifests say is in the cluster; a file is one Addon."""
