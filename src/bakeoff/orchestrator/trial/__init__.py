"""Try models without a configuration: infer the task, the fields and the settings, and say all of them."""
