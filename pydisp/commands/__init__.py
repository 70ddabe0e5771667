"""The commands of the command line, a file a journey: each parses, calls one function and prints. Heavy imports stand inside them."""
