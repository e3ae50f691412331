"""One reader per publisher; each has read(folder) -> Raw."""
