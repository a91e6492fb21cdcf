"""Key material on disk: authorities, certificates, kubeconfigs, tokens, keys; named and laid out as in RKE2."""
