"""Sites: which layers can be replaced, what their weights are, which graph goes where."""
