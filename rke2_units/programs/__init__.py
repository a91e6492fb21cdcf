"""What units execute: one module for each program that an ExecStart= names.

content_staging and chart_values are parts of content and charts. They start fast and read one settings file.
"""
