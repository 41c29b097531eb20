"""Models of other libraries, read: columns with calibrated ranges, a network, a link."""
