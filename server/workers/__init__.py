"""The work on words in processes of their own: one that dies takes one request with it.

The server keeps the connections, the trail and its keys; a worker has one request at a time, the
server's secret, and the models and enrolled keys it was last asked for.  What crosses between them
is written and read here (`frames`, `tasks`); nothing is pickled.
"""
