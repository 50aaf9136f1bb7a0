"""Do 95 % intervals hold the truth as often as they say? See ``run.py``."""
