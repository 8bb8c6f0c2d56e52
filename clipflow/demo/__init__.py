"""What lets clipflow be tried with no network: drawn pictures, a catalogue of them, and the encoder trained on them."""
