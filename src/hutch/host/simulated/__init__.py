"""A host without virtual machines, for tests; it passes the same contract suite as the real one."""
