"""One table of rules: the Great Expectations gate and the Spark expressions that fill the quarantine."""
