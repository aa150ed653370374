"""Why a model decided: attributions to pixels, tokens and states, and a score for every method."""
