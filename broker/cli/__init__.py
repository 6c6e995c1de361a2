"""The command `broker`: one file a command group."""
