"""Chapter: the bias-variance bargain of transfer learning."""
