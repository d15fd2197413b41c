"""The command line: it parses and prints; the work is done below."""
