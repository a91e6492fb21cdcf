"""What is done to this node: facts and checks of it, applying a plan to it, its status, and leaving it."""
