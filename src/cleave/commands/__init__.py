"""What a person calls by hand: one file a command, each with `run(options)`."""
