"""The only modules that touch the world outside: D-Bus, programs, HTTP and files."""
