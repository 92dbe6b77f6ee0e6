"""A first walk on scikit-learn's digits, with two networks that come with the package."""

from verifier.demo.digits import NAMES, network, test_images

__all__ = ["NAMES", "network", "test_images"]
