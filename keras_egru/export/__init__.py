"""From training to the device: SavedModel, TF-Lite, streaming and NIR."""

from keras_egru.export.report import ExportReport
from keras_egru.export.streaming import StreamingModel
from keras_egru.export.tflite import to_tflite

__all__ = ["ExportReport", "StreamingModel", "to_tflite"]
