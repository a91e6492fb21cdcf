"""Key material on disk: authorities, certificates, kubeconfigs, tokens; names and layout are RKE2's."""
