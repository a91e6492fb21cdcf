"""What servers that do the same work agree by: a Lease that one of them holds, and Events on objects."""
