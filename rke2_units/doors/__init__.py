"""The doors to the world outside that more than one room uses: D-Bus, programs, HTTP and files."""
