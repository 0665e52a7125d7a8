"""State of runs kept in the lake: run context, plans, run log, ledger, lease, holds, stop signal, known models."""
