"""The peers, each as good as its own users would have it; one file a package."""
