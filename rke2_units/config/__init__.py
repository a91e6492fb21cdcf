"""The configuration of a node: RKE2's keys, how they are read and merged, and what follows from them."""
