"""The deploy controller: applies the files of server/manifests to the cluster, each as one Addon."""
