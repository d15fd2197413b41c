"""How a module is born, and what training it buys: every birth against its controls, at equal multiply-accumulates."""
