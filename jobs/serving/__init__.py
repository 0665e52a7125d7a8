"""The served Milvus collection: rows, writer, reconciliation, alias, canary queries, search, export, status."""
