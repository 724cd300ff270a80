"""Every knob of the trader, validated once and frozen after."""
