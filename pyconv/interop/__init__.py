"""Other libraries' calls and files; each module imports its library only when it is itself imported."""
