"""Data contracts: lake tables, product, source mapping, Milvus collection."""
