"""The node daemon: the process of rke2-server.service and rke2-agent.service.

It renders, starts and stops the node's units over D-Bus, watches them, and reports. It supervises nothing:
restarting is systemd's work, and killing the daemon touches no other unit (contract L5).
"""
