"""How a node joins a cluster: what it asks the servers for, whom it believes, and what it keeps of that."""
