"""One module per layer: how the layer evaluated in `fhe_layers.layers` is proved."""
