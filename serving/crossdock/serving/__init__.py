"""What serving engines use: thin plug-ins. Importing this part imports no engine."""
