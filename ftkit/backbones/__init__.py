"""Pretrained models and the perceptron by hand: how each is loaded, checked and taken apart."""
