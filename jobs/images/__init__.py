"""Reads product images from files, object stores and web hosts, and keeps the image store."""
