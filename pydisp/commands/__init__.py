"""The commands of the command line, one file per journey. Each parses, calls one function and prints; heavy imports stand inside it."""
