"""What a step costs on chips that are not here: compiled ahead of time, and held against what the chips can do."""
