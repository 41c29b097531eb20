"""Exports of the audit trail, and their verification by whoever holds nothing else.

`exporting` writes a file from a server's log and archive; `verification` reads that file alone and
says what it shows.  The verifying half needs neither the server's code nor a database.
"""
