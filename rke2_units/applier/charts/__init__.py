"""HelmChart and HelmChartConfig objects (helm.cattle.io/v1): RKE2's helm-controller without its Jobs.

Formats, names and the order of values are those of helm-controller 0.17 and of klipper-helm's entry program.
"""
