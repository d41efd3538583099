"""The evaluation of Section 8: faces, methods, figures, intervals, reports. Needs no PyTorch."""
