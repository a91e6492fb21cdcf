"""What the kernel has and keeps: processes, mounts, network, firewall, cgroups, kernel parameters."""
