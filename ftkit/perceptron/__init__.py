"""The multilayer perceptron by hand: network, training, gradient check, files, estimators."""
