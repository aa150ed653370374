"""Studies made with the package: score card, experiments, bundled models, scaling, teaching."""
