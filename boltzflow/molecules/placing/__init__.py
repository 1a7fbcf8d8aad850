"""Which coordinates a molecule gets."""
