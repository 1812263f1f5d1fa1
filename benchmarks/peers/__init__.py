"""What a user would otherwise pick, on public libraries: programs for the benchmark, imported by nothing."""
