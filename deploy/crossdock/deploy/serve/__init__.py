"""The commands `crossdock serve ...`, one module each."""
