"""The processes: supervisor and core, and what they listen on."""
