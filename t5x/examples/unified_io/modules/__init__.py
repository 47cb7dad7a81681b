"""Building blocks of the network: primitives, sequences and blocks, embedders (in this order)."""
