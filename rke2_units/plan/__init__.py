"""The plan: everything that a node is to have, as a pure function of config, node facts and release."""
