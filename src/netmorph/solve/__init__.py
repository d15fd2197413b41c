raise ImportError("netmorph.solve is now netmorph.solver (nm.solve, the function, hid the package)")
