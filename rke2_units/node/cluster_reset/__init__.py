"""Makes this server's etcd a new cluster with one member: of a snapshot, or of the data that it has.

Everything is made and checked in a folder beside etcd's data first (new_data). What is replaced after that
(replacing) stays under another name, and is noted in a file, so that a run that was killed can be completed.
"""
