"""Those who watch and show: the web interface."""
