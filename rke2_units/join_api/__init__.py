"""The join API on port 9345: what rke2-supervisor.service executes, and nothing else of the node."""
