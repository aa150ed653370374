"""What a model makes of a whole data set, stored on disk: one Zarr store, one region a video."""
