"""The workflows of the command line: training from molecule to summary, references, and their settings."""
