"""Inference: names of views, the wire codec, batching, and the one thread per device that runs torch."""
