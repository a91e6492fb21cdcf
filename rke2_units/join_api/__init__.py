"""The join API on port 9345: the program of rke2-supervisor.service."""
