"""For all tests: TensorFlow's start-up messages say nothing about a test."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
