"""The model in the browser: what a page needs to run it without Python."""
