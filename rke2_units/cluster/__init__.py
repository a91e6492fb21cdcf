"""What this node asks its cluster for: how it is, its charts and workloads, its tokens."""
