"""How the speed of architectures is measured: cases, our programs, and processes that step in turn."""
