"""For work that one of several servers does: a Lease, which one of them holds, and Events on objects."""
