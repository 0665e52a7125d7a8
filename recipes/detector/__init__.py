"""How the shipped detector is made: synthesis of data, network, losses, training, export, measurement."""
