"""Federated recommendation at accelerator speed."""
