"""How fast this machine trains, loads, corrupts and reports: what ``noisybench bench`` measures."""
