"""Key material on disk: authorities, certificates, kubeconfigs and tokens, with RKE2's names and layout."""
