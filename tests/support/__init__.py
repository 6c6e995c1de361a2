"""What tests share: a running broker, a catalogue to put in it, a provider to ask. Real processes and real sockets."""
