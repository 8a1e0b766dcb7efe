"""Makes zoos: presets, plans, trainers, engines, the evaluation of trained networks."""
