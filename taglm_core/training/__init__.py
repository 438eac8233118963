"""Training: the one loop, checkpoints, schedules, the journal, and everything that differs between devices."""
