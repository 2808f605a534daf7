"""The motion network's trainer: sequences of face crops, features, training, export, bundle."""
