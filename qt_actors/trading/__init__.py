"""Those who hold positions: executor and position monitor."""
