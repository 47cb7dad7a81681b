"""Unified-IO 2: one encoder-decoder for text, images, audio, video and actions."""
