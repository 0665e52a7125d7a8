"""The recipe of the shipped detector: synthetic data, network, loss, training, export and evaluation."""
