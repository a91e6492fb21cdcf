"""rke2-helm-applier.service, which does the work of RKE2's deploy controller and helm-controller.

The process runs as long as the node, so it imports no large library (a test checks that).
"""
