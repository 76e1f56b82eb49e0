"""Files with one observed spectrum, read into an `Observation`."""
