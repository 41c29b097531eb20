"""The work on words in a Ray cluster: the pool of `server.workers`, with workers on many machines.

The server is the cluster's driver.  Every worker is an actor that has one request at a time; what
goes to it and comes back are the frames of `server.workers.frames`, as plain bytes, which Ray moves
without pickling.  Models and enrolled keys are put into the cluster once and are fetched by digest.
Long evaluations are shared out by limbs (`limbs`): they are exact prime by prime.

The cluster is inside the server's trust boundary: whoever reaches its ports can run code in it, and
its nodes hold the server's secret and the models' weights.  See docs/decisions/0018-executors.md.
"""
