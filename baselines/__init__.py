"""Encoders, emulation and downstream evaluation; nothing is here yet."""
