"""The contracts: lake tables, the product, the source mapping, the Milvus collection."""
