"""The layer-level verbs, a file each: `widen`, `deepen`, `grow_kernel`, `regrow`."""
