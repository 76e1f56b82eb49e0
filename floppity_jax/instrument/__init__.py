"""What the instrument and the motion of the source make of a model spectrum."""
