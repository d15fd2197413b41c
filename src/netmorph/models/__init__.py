"""Networks by name: netmorph's own, torchvision's and timm's."""
