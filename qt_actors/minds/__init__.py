"""Those who see and guess: features, models, ensemble, regime, universe."""
