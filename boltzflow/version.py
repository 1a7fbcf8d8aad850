"""The version: said here, and read by everything that writes it down."""

__version__ = "0.2.0"
