"""The system under the instrument: kernel counters, memory, cores, containers."""
