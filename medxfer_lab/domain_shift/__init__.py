"""Chapter: domain shift, when knowledge carries over and when it does not."""
