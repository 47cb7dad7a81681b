"""The only decoding there is: model-free loops over one compiled step."""
