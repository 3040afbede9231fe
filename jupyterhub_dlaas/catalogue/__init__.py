"""What a VO offers: models, loading, grants, and who may see what. Knows nothing of JupyterHub."""
