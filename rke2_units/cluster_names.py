"""Names of things in a cluster: labels, annotations, subjects, keys in etcd, bootstrap tokens."""

# How a HelmChart says that it is ours (RKE2's annotation and its value).
CHART_OWNER_ANNOTATION, CHART_OWNER = "helmcharts.cattle.io/managed-by", "helm-controller"
# The common name and organization of the certificate that a server's join API has, RKE2's as well.
SUPERVISOR_SUBJECT = "rke2"
# What RKE2 and its kin have on the Node objects of servers.
CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
ETCD_LABEL = "node-role.kubernetes.io/etcd"
ETCD_ADDRESS_ANNOTATION = "etcd.rke2.cattle.io/node-address"
# Set by an administrator who wants a server's member to leave etcd; set after that: the name of the member.
ETCD_REMOVE_ANNOTATION = "etcd.rke2.cattle.io/remove"
ETCD_REMOVED_ANNOTATION = "etcd.rke2.cattle.io/removed-node-name"
# RKE2's key in etcd for the addresses of all API servers, a JSON list of HOST:PORT.
API_ADDRESSES_KEY = "rke2/apiaddresses"
# RKE2's key in etcd for how far a learner is that joins.
LEARNER_PROGRESS_KEY = "rke2/etcd/learnerProgress"
# A bootstrap token is its identifier and its secret part (abcdef.0123456789abcdef). Its Secret in
# kube-system is named by this prefix and the identifier, and has this type.
BOOTSTRAP_TOKEN_ID = r"[a-z0-9]{6}"
BOOTSTRAP_TOKEN = rf"({BOOTSTRAP_TOKEN_ID})\.([a-z0-9]{{16}})"
BOOTSTRAP_TOKEN_SECRET = "bootstrap-token-"
BOOTSTRAP_TOKEN_TYPE = "bootstrap.kubernetes.io/token"
