"""From training to the device: SavedModel, TF-Lite, streaming and NIR."""
