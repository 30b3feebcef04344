"""The Kubernetes API of Hammerwork as typed structs; the CRDs are generated from them."""
