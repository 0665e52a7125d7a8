"""Connections to Milvus: a server or the embedded Milvus Lite."""
