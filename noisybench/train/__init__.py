"""One run: prepare, train, evaluate, save, resume, record."""
