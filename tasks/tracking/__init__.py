"""MLflow: runs per stage, variant and seed, and the registry of taggers."""
