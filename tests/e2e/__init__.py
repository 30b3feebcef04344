"""The product as its users meet it: images, chart, operator and workers on a real cluster."""
