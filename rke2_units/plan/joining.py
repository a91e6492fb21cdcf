"""Whether nodes join others: the one switch in front of all that it takes.

Read as `joining.JOINING`, so that a test can switch it on.
"""

JOINING = False
