"""Surgery on any network: find sites, solve them, swap modules in, prove that nothing changed."""
