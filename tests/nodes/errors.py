"""What goes wrong with a test node, as one line that says what to do."""


class NodeError(Exception):
    """A test node, or what it is made of, could not be had."""
