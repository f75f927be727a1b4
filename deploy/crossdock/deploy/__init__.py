"""The command `crossdock`: it launches, checks and explains; nothing imports it."""
