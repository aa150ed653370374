"""The scan and a motion detector made by hand, to be read and played with."""
