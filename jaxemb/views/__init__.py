"""Random views of images, made on the device."""
