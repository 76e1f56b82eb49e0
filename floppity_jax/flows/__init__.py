"""The flow: spline, conditioner, and the two joined; knows nothing of spectra."""
