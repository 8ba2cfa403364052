"""One image, one attack, everybody's answer: asked by a page, computed by the worker, remembered for an hour."""
