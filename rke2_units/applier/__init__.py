"""The helm-applier: what RKE2's deploy controller and helm-controller do, as rke2-helm-applier.service.

One process that lives as long as the node, so it imports none of the large libraries (a test holds that).
"""
