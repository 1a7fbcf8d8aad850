"""What the command line does: a training from molecule to summary, a reference, and their settings."""
