"""The workloads, each run on any contender and measured alike."""
