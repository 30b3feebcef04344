"""What commands print, as text and as JSON, and how they end."""
