"""Labeled videos: lists of files, batches for training, views for testing."""
