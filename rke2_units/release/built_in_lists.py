"""The image lists of the releases that are built in, by release and by list (see image_list)."""

from collections.abc import Mapping

LISTS: Mapping[str, Mapping[str, str]] = {
    "v1.36.4+rke2r1": {
        "core": """
            docker.io/rancher/rke2-runtime:v1.36.4-rke2r1
            docker.io/rancher/hardened-kubernetes:v1.36.4-rke2r1-build20260821
            docker.io/rancher/hardened-etcd:v3.6.14-k3s1-build20260819
            docker.io/rancher/mirrored-pause:3.10.2
            docker.io/rancher/rke2-cloud-provider:v1.35.1-0.20260817230842-2a1e2e8cf41b-build20260820
            docker.io/rancher/hardened-coredns:v1.14.7-build20260819
            docker.io/rancher/hardened-cluster-autoscaler:v1.10.3-build20260819
            docker.io/rancher/hardened-dns-node-cache:1.26.8-build20260819
            docker.io/rancher/hardened-k8s-metrics-server:v0.9.0-build20260819
            docker.io/rancher/hardened-addon-resizer:1.8.23-build20260819
            docker.io/rancher/hardened-snapshot-controller:v8.6.0-build20260819
            docker.io/rancher/hardened-traefik:v3.7.11-build20260819
            docker.io/rancher/klipper-helm:v0.13.3-build20260820
            docker.io/rancher/klipper-lb:v0.4.17
            docker.io/rancher/rke2-security-responder:v0.1.4
        """,
        "canal": """
            docker.io/rancher/hardened-calico:v3.32.1-build20260819
            docker.io/rancher/hardened-flannel:v0.28.9-build20260819
        """,
        "calico": """
            docker.io/rancher/mirrored-calico-operator:v1.42.3
            docker.io/rancher/mirrored-calico-apiserver:v3.32.1
            docker.io/rancher/mirrored-calico-cni:v3.32.1
            docker.io/rancher/mirrored-calico-csi:v3.32.1
            docker.io/rancher/mirrored-calico-ctl:v3.32.1
            docker.io/rancher/mirrored-calico-envoy-gateway:v3.32.1
            docker.io/rancher/mirrored-calico-envoy-proxy:v3.32.1
            docker.io/rancher/mirrored-calico-envoy-ratelimit:v3.32.1
            docker.io/rancher/mirrored-calico-goldmane:v3.32.1
            docker.io/rancher/mirrored-calico-kube-controllers:v3.32.1
            docker.io/rancher/mirrored-calico-node:v3.32.1
            docker.io/rancher/mirrored-calico-node-driver-registrar:v3.32.1
            docker.io/rancher/mirrored-calico-pod2daemon-flexvol:v3.32.1
            docker.io/rancher/mirrored-calico-typha:v3.32.1
            docker.io/rancher/mirrored-calico-whisker:v3.32.1
            docker.io/rancher/mirrored-calico-whisker-backend:v3.32.1
        """,
        "cilium": """
            docker.io/rancher/hardened-cni-plugins:v1.9.1-build20260717
            docker.io/rancher/mirrored-cilium-certgen:v0.4.6
            docker.io/rancher/mirrored-cilium-cilium:v1.19.6
            docker.io/rancher/mirrored-cilium-cilium-envoy:v1.36.9-1782267392-edeb3f2af56c37c407efa1f63f0b32f595399bbc
            docker.io/rancher/mirrored-cilium-clustermesh-apiserver:v1.19.6
            docker.io/rancher/mirrored-cilium-hubble-relay:v1.19.6
            docker.io/rancher/mirrored-cilium-hubble-ui:v0.13.5
            docker.io/rancher/mirrored-cilium-hubble-ui-backend:v0.13.5
            docker.io/rancher/mirrored-cilium-operator-aws:v1.19.6
            docker.io/rancher/mirrored-cilium-operator-azure:v1.19.6
            docker.io/rancher/mirrored-cilium-operator-generic:v1.19.6
        """,
        "flannel": """
            docker.io/rancher/hardened-cni-plugins:v1.9.1-build20260819
            docker.io/rancher/hardened-flannel:v0.28.9-build20260819
        """,
        "multus": """
            docker.io/rancher/hardened-cni-plugins:v1.9.1-build20260717
            docker.io/rancher/hardened-multus-cni:v4.3.0-build20260722
            docker.io/rancher/hardened-multus-dynamic-networks-controller:v0.3.8-build20260722
            docker.io/rancher/hardened-multus-thick:v4.3.0-build20260722
            docker.io/rancher/hardened-whereabouts:v0.9.4-build20260721
            docker.io/rancher/mirrored-library-busybox:1.36.1
        """,
        "ingress-nginx": """
            docker.io/rancher/kube-webhook-certgen:v1.14.5-hardened2
            docker.io/rancher/nginx-ingress-controller:v1.14.5-hardened2
        """,
        "vsphere": """
            docker.io/rancher/hardened-csi-snapshotter:v8.6.0-build20260708
            docker.io/rancher/mirrored-cloud-provider-vsphere:v1.36.0
            docker.io/rancher/mirrored-cloud-provider-vsphere-csi-release-driver:v3.7.2
            docker.io/rancher/mirrored-cloud-provider-vsphere-csi-release-syncer:v3.7.2
            docker.io/rancher/mirrored-sig-storage-csi-attacher:v4.9.0
            docker.io/rancher/mirrored-sig-storage-csi-node-driver-registrar:v2.13.0
            docker.io/rancher/mirrored-sig-storage-csi-provisioner:v4.0.1
            docker.io/rancher/mirrored-sig-storage-csi-resizer:v1.12.0
            docker.io/rancher/mirrored-sig-storage-livenessprobe:v2.15.0
        """,
        "harvester": """
            docker.io/rancher/harvester-cloud-provider:v0.2.8
            docker.io/rancher/harvester-csi-driver:v0.2.9
            docker.io/rancher/mirrored-kube-vip-kube-vip-iptables:v1.2.3
            docker.io/rancher/mirrored-longhornio-csi-attacher:v4.11.0-20260428
            docker.io/rancher/mirrored-longhornio-csi-node-driver-registrar:v2.16.0-20260428
            docker.io/rancher/mirrored-longhornio-csi-provisioner:v5.3.0-20260428
            docker.io/rancher/mirrored-longhornio-csi-resizer:v2.1.0-20260428
            docker.io/rancher/mirrored-longhornio-csi-snapshotter:v8.5.0-20260428
        """,
    },
    # These two are made of Debian's packages by the tests: r1 of Debian 12 (containerd 1.6), r2 of Debian 13
    # (containerd 1.7).
    "v1.20.2+rke2r1": {
        "all": """
            docker.io/rancher/rke2-runtime:v1.20.2-rke2r1
            docker.io/rancher/hardened-kubernetes:v1.20.2-rke2r1
            docker.io/rancher/hardened-etcd:v3.4.23-rke2r1
            docker.io/rancher/mirrored-pause:3.2
            docker.io/rancher/klipper-helm:v4.2.3
        """,
    },
    "v1.20.2+rke2r2": {
        "all": """
            docker.io/rancher/rke2-runtime:v1.20.2-rke2r2
            docker.io/rancher/hardened-kubernetes:v1.20.2-rke2r2
            docker.io/rancher/hardened-etcd:v3.5.16-rke2r2
            docker.io/rancher/mirrored-pause:3.2
            docker.io/rancher/klipper-helm:v4.2.3
        """,
    },
}
