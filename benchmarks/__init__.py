"""The benchmark suite: `python -m benchmarks {list,run,speed,report}`."""
