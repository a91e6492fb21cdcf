"""What units execute: small programs that start fast and read one settings file.

They import the standard library (its fast part), names and errors, nothing else of this project.
"""
