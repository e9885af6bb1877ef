"""System under the instrument: kernel counters, memory and cores."""
