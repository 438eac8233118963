"""The work of TagLM: no Prefect, no MLflow. See docs/architecture.md for what is where."""
