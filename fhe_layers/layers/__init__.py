"""One module per layer; its proof has the same name in `zk_layers.layers`."""
