"""Files at remote addresses: object stores and web servers behind one interface, and streams that continue reads."""
