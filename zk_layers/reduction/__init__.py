"""Sum-check reductions over a network: from claims on outputs to claims on inputs.

What a layer adds to this machinery is in `zk_layers.layers`.
"""
