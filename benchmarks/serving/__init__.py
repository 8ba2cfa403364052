"""An open-loop load benchmark of the service beside LitServe, MLServer and BentoML; see `__main__`."""
