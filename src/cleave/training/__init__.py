"""How a detector is trained: samples, augmentation, and the loop; knows no network."""
