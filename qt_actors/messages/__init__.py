"""The vocabulary. Commands order, events tell; every message is frozen.

``market`` data · ``signals`` from features to votes · ``policy`` and decisions · ``orders`` · ``positions`` ·
``system``.
"""
