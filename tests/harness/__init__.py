"""What several suites of tests use: it knows the product, and nothing of a suite."""
