"""SOLOv2: instances as cells of a grid, each with the weights of the convolution that draws it."""
