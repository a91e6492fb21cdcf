"""How a node joins a cluster: what it requests from servers, whom it trusts, and what it stores."""
